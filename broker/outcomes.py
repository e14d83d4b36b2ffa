"""The two ledger entries that an agent writes: how its attempt ended.

Pure: here and not in `ledger/` because agents know the wire and nothing of the ledger's rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from outrider.broker.messages import VERSION, AttemptError
from outrider.broker.object_ref import ObjectRef
from outrider.broker.quick import quickly_made
from outrider.broker.states import ErrorClass


@quickly_made
@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt consumed, where the handler knows it."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


@quickly_made
@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt finished; terminal for the task. `epoch` is the token the attempt was given."""

    task_id: str
    attempt: int
    agent_id: str
    epoch: int
    result: Any = None
    service_s: float = 0.0
    usage: Usage = Usage()
    at: float = 0.0
    result_ref: ObjectRef | None = None
    """Where the result lies when it is too large for a message; `result` is None then."""
    type: str = "succeeded"
    v: int = VERSION

    def without_result(self) -> Succeeded:
        """All but the result, for who keeps many. Written out: `replace` takes several times as long."""
        if self.result is None:
            return self
        return Succeeded(
            self.task_id,
            self.attempt,
            self.agent_id,
            self.epoch,
            None,
            self.service_s,
            self.usage,
            self.at,
            self.result_ref,
            self.type,
            self.v,
        )


@quickly_made
@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed; the orchestrator decides what follows."""

    task_id: str
    attempt: int
    agent_id: str
    epoch: int
    error: AttemptError
    service_s: float = 0.0
    usage: Usage = Usage()
    at: float = 0.0
    type: str = "failed"
    v: int = VERSION

    @property
    def is_refused(self) -> bool:
        """A provider turned the attempt away and said when to come back: no work was done."""
        error = self.error
        return error.error_class is ErrorClass.RATE_LIMITED and error.retry_after_s is not None
