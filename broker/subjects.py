"""Every subject, stream and name rule of the wire, and nothing that sends or receives.

Pure: no I/O. `<fleet>` is the first token of every subject; two fleets never meet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from outrider.broker.errors import DecodeError, InvalidName, InvalidTask
from outrider.broker.quick import quickly_made

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LOWEST_PRIORITY = 9


def check_name(name: object, what: str) -> str:
    """The name itself when it may stand in a subject; `what` is named in the error.

    Raises InvalidName.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise InvalidName(f"{what} {name!r} is not of the form [a-zA-Z0-9_-]{{1,64}}")


def check_priority(priority: object) -> int:
    """The priority when it is 0 (first) to 9. Raises InvalidTask."""
    if isinstance(priority, int) and not isinstance(priority, bool) and 0 <= priority <= LOWEST_PRIORITY:
        return priority
    raise InvalidTask(f"priority {priority!r} is not a whole number from 0 (first) to 9")


@quickly_made
@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """Who wrote an entry of which task, read from its subject."""

    task_id: str
    role: str
    writer: str


class Subjects:
    """The subjects and stream names of one fleet."""

    def __init__(self, fleet: str = "outrider") -> None:
        self.fleet = check_name(fleet, "fleet")
        upper = fleet.upper().replace("-", "_")
        self.tasks_stream = f"{upper}_TASKS"
        self.ledger_stream = f"{upper}_LEDGER"
        self.chunks_stream = f"{upper}_CHUNKS"
        self.objects_bucket = f"{upper}_PAYLOADS"
        self.objects_stream = f"OBJ_{self.objects_bucket}"
        self.snapshots_bucket = f"{upper}_SNAPSHOTS"
        self.models_bucket = f"{upper}_MODELS"
        self.model_decision = f"{fleet}.model.decision"
        self.model_training = f"{fleet}.model.training"
        self.later_stream = f"{upper}_LATER"
        self.keys_stream = f"{upper}_KEYS"
        self.all_later = f"{fleet}.later.*"
        self.all_due = f"{fleet}.due.*.*.*"
        self.all_keys = f"{fleet}.key.*"
        self.limits_stream = f"{upper}_LIMITS"
        self.all_tasks = f"{fleet}.task.*.*.*"
        self.all_ledger = f"{fleet}.ledger.>"
        self.all_live = f"{fleet}.live.>"
        self.all_members = f"{fleet}.member.*"
        self.all_control = f"{fleet}.control.*"
        self.all_limits = f"{fleet}.limit.*.*"
        self.all_chunks = f"{fleet}.chunk.*.*.*"
        self.all_heartbeats = f"{fleet}.agent.*.heartbeat"
        self.all_pulses = f"{fleet}.orchestrator.*.pulse"
        self.agent_outcomes = f"{fleet}.ledger.*.agent.*"
        self.submit = f"{fleet}.submit"
        self.get = f"{fleet}.get"
        self.cancel = f"{fleet}.cancel"
        self.agents = f"{fleet}.agents"
        self.stats = f"{fleet}.stats"
        self.dead = f"{fleet}.dead"
        self.requeue = f"{fleet}.requeue"
        self.discard = f"{fleet}.discard"
        self.pause = f"{fleet}.pause"
        self.resume = f"{fleet}.resume"
        self.limits = f"{fleet}.limits"
        self.estimate = f"{fleet}.estimate"
        self.route = f"{fleet}.route"
        self.any_join = f"{fleet}.agent.*.join"
        self.any_settle = f"{fleet}.agent.*.settle"

    def task(self, kind: str, priority: int, task_id: str) -> str:
        return f"{self.fleet}.task.{kind}.{priority}.{task_id}"

    def task_anywhere(self, task_id: str) -> str:
        """One task, whatever its kind and priority."""
        return f"{self.fleet}.task.*.*.{task_id}"

    def tasks_of(self, kind: str, priority: int) -> str:
        return f"{self.fleet}.task.{kind}.{priority}.*"

    def later(self, schedule_id: str) -> str:
        """Where a schedule waits."""
        return f"{self.fleet}.later.{schedule_id}"

    def due(self, kind: str, priority: int, schedule_id: str) -> str:
        """Where the server puts a schedule's message when its time has come."""
        return f"{self.fleet}.due.{kind}.{priority}.{schedule_id}"

    def due_anywhere(self, schedule_id: str) -> str:
        return f"{self.fleet}.due.*.*.{schedule_id}"

    def key(self, name: str) -> str:
        """The record of what a unique or debounced name stands for now."""
        return f"{self.fleet}.key.{name}"

    def story(self, task_id: str) -> str:
        """Every ledger entry of one task."""
        return f"{self.fleet}.ledger.{task_id}.>"

    def ledger_orchestrator(self, task_id: str, orchestrator_id: str) -> str:
        return f"{self.fleet}.ledger.{task_id}.orchestrator.{orchestrator_id}"

    def ledger_agent(self, task_id: str, agent_id: str) -> str:
        return f"{self.fleet}.ledger.{task_id}.agent.{agent_id}"

    def live(self, task_id: str) -> str:
        return f"{self.fleet}.live.{task_id}.>"

    def member(self, agent_id: str) -> str:
        return f"{self.fleet}.member.{agent_id}"

    def control(self, control_id: str) -> str:
        return f"{self.fleet}.control.{control_id}"

    def limit(self, kind: str, key: str) -> str:
        """Where one limit is kept. `~` stands for `*`, which no subject may hold, and `~~` for no key."""
        return f"{self.fleet}.limit.{kind.replace('*', '~')}.{key.replace('*', '~') or '~~'}"

    def pulse(self, orchestrator_id: str) -> str:
        return f"{self.fleet}.orchestrator.{orchestrator_id}.pulse"

    def agent(self, agent_id: str, verb: str) -> str:
        """join, settle, heartbeat, assign, cancel, drain, ping or renew of one agent."""
        return f"{self.fleet}.agent.{agent_id}.{verb}"

    def chunk(self, agent_id: str, task_id: str, attempt: int) -> str:
        return f"{self.fleet}.chunk.{agent_id}.{task_id}.{attempt}"

    def chunks_of(self, task_id: str) -> str:
        """Partial output of one task, from any agent and attempt."""
        return f"{self.fleet}.chunk.*.{task_id}.*"

    def consumer(self, kind: str, priority: int) -> str:
        """Name of the durable consumer that serves one kind and priority."""
        return f"{kind}-{priority}"


def _is_number(token: str) -> bool:
    # isdigit alone also takes signs such as a raised two, of which int makes nothing.
    return token.isascii() and token.isdigit()


def parse_ledger(subject: str) -> LedgerAddress:
    """Task, role and writer of `<fleet>.ledger|live.<task>.<role>.<id>`. Raises DecodeError."""
    tokens = subject.split(".")
    if len(tokens) != 5 or tokens[1] not in ("ledger", "live") or tokens[3] not in ("orchestrator", "agent"):
        raise DecodeError(f"{subject} is not the subject of a ledger entry")
    return LedgerAddress(tokens[2], tokens[3], tokens[4])


def parse_task(subject: str) -> tuple[str, int, str]:
    """Kind, priority and task id of `<fleet>.task.<kind>.<priority>.<task_id>`. Raises DecodeError."""
    tokens = subject.split(".")
    if len(tokens) != 5 or tokens[1] != "task" or not _is_number(tokens[3]):
        raise DecodeError(f"{subject} is not the subject of a task")
    return tokens[2], int(tokens[3]), tokens[4]


def parse_agent(subject: str) -> str:
    """Agent id of `<fleet>.agent.<agent_id>.<verb>` or `<fleet>.member.<agent_id>`. Raises DecodeError."""
    tokens = subject.split(".")
    if len(tokens) < 3 or tokens[1] not in ("agent", "member"):
        raise DecodeError(f"{subject} does not name an agent")
    return check_name(tokens[2], "agent id")


def parse_chunk(subject: str) -> tuple[str, str, int]:
    """Agent, task and attempt of `<fleet>.chunk.<agent_id>.<task_id>.<attempt>`. Raises DecodeError."""
    tokens = subject.split(".")
    if len(tokens) != 5 or tokens[1] != "chunk" or not _is_number(tokens[4]):
        raise DecodeError(f"{subject} is not the subject of a chunk")
    return tokens[2], tokens[3], int(tokens[4])
