"""What fake agents say of an attempt: how it ended, truly or not, and the tokens it used."""

from __future__ import annotations

from outrider.broker.messages import Assignment, AttemptError
from outrider.broker.outcomes import Failed, Succeeded, Usage
from outrider.broker.states import ErrorClass
from tests.sim.handler_log import HandlerLog


def usage_of(given: Assignment) -> Usage:
    """Some of the tokens that the task allows."""
    most = given.payload.get("max_tokens", 0) if isinstance(given.payload, dict) else 0
    return Usage(0, 1 + given.epoch * 37 % most) if most else Usage()


def error_of(error_class: ErrorClass, retryable: bool, retry_after_s: float | None = None) -> AttemptError:
    return AttemptError(error_class, f"said {error_class.value}", retryable, retry_after_s)


def limits_of(given: Assignment, wall_at: float) -> list[float]:
    """Seconds after which the agent itself ends the attempt."""
    limits = [given.timeout_s] if given.timeout_s is not None else []
    if given.deadline_at is not None:
        limits.append(max(0.0, given.deadline_at - wall_at))
    return limits


def a_lie(log: HandlerLog, who: tuple[str, int, str, int], *, is_good: bool) -> Succeeded | Failed:
    """An outcome of (task, attempt, agent, epoch) that nobody worked for."""
    task_id, _, agent_id, epoch = who
    error = error_of(ErrorClass.HANDLER, True)
    log.say(task_id, epoch, agent_id, "a lie")
    log.say(task_id, epoch, agent_id, error.message)
    return Succeeded(*who, "a lie") if is_good else Failed(*who, error)
