"""Every error Outrider names: one class per condition, its wire code, and a hint what to do.

Knows nothing of NATS or HTTP; the edges (connection, CLI, bridge) map to and from these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from outrider.broker.views import TaskView


class OutriderError(Exception):
    """Something went wrong in Outrider."""

    code: ClassVar[str] = "error"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.hint = hint or self.default_hint

    @property
    def message(self) -> str:
        return str(self)

    def to_wire(self) -> dict[str, Any]:
        """The body of an error answer: `{"error": {"code", "message", "hint"}}`."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class InvalidName(OutriderError):
    """A name or id is not of the form [a-zA-Z0-9_-]{1,64}."""

    code = "invalid_name"
    default_hint = "use 1 to 64 letters, digits, '_' or '-'"


class InvalidTask(OutriderError):
    """A task's fields do not make sense together."""

    code = "invalid_task"


class InvalidLimit(OutriderError):
    """A limit's fields do not make sense."""

    code = "invalid_limit"
    default_hint = "outrider limit set --help shows what can be limited"


class DecodeError(OutriderError):
    """A message body cannot be read."""

    code = "malformed"
    default_hint = "send one JSON object or one MessagePack map; docs/wire.md lists the fields"


class PayloadTooLarge(OutriderError):
    """A body is larger than its limit."""

    code = "payload_too_large"
    default_hint = "put large data elsewhere and send its address"


class ObjectMissing(OutriderError):
    """A large payload or result is not in the object store."""

    code = "object_missing"
    default_hint = "objects live as long as the ledger; `nats object ls` shows what is there"


class ObjectCorrupt(OutriderError):
    """What the object store holds is not what was put there."""

    code = "object_corrupt"
    default_hint = "submit the task again; `nats object info` shows what is stored"


class UnknownKind(OutriderError):
    """No agent ever declared this kind."""

    code = "unknown_kind"
    default_hint = "start an agent for it: outrider agent --kinds KIND"


class QueueFull(OutriderError):
    """The task queue is at its limit and refuses new tasks."""

    code = "queue_full"
    default_hint = "try again in a few seconds, or add agents"
    retry_after_s: ClassVar[float] = 2.0
    """How long to wait at least before it is worth another try."""


LEDGER_HINT = (
    "try again in a minute: room comes as entries age; or raise its max_bytes with `nats stream edit`"
)
"""What to do about a QueueFull that comes from LEDGER."""


class IdempotencyConflict(OutriderError):
    """This idempotency key was used for a task with another kind or payload."""

    code = "idempotency_conflict"
    default_hint = "use a new key for a new task"


class TaskNotFound(OutriderError):
    """No task with this id waits or stands in the ledger."""

    code = "not_found"
    default_hint = "outrider task ls shows the tasks that are known"


class AgentNotFound(OutriderError):
    """No agent with this id has joined."""

    code = "agent_not_found"
    default_hint = "outrider agent ls shows the agents that are known"


class Refused(OutriderError):
    """The request is not allowed in the present state."""

    code = "refused"


class NatsUnavailable(OutriderError):
    """NATS cannot be reached."""

    code = "nats_unavailable"
    default_hint = "check NATS_URL and that nats-server runs; `outrider up` starts a private one"


class NobodyAnswers(OutriderError):
    """NATS is there, but nobody answers this request."""

    code = "nobody_answers"
    default_hint = "start an orchestrator: outrider orchestrator (or all parts: outrider up)"


class WrongCredentials(OutriderError):
    """NATS refused the credentials."""

    code = "wrong_credentials"
    default_hint = "check NATS_CREDS, NATS_USER and NATS_PASSWORD, or the selected NATS context"


class NotPermitted(OutriderError):
    """NATS refused a subject to these credentials."""

    code = "not_permitted"
    default_hint = "nats.conf lists what each role may publish and subscribe"


class TimedOut(OutriderError):
    """No answer came in time."""

    code = "timed_out"


class WrongSequence(OutriderError):
    """The ledger moved on: another writer appended first."""

    code = "wrong_sequence"


class OutcomeUnknown(OutriderError):
    """The server did not confirm the write: it may or may not be stored."""

    code = "outcome_unknown"


class StreamDrift(OutriderError):
    """A stream exists with settings that Outrider cannot work with."""

    code = "stream_drift"
    default_hint = "compare with docs/wire.md; `nats stream edit` changes it, Outrider never does"


class ServerNotFound(OutriderError):
    """No nats-server program was found for the private server."""

    code = "server_not_found"
    default_hint = "pip install 'outrider[server]', or set NATS_URL to a running server"


class PortTaken(OutriderError):
    """The address is in use by another program."""

    code = "port_taken"
    default_hint = "choose another port, or stop the program that holds it"


class MissingExtra(OutriderError):
    """A part needs packages that are not installed."""

    code = "missing_extra"


class TaskEnded(OutriderError):
    """The task ended without a result."""

    code = "task_ended"
    view: TaskView | None = None
    """The task as it ended, where the error is raised by a client."""


class TaskDead(TaskEnded):
    """The task used all its attempts or failed for good."""

    code = "dead"
    default_hint = "outrider task get TASK_ID shows every attempt and its error"


class TaskCancelled(TaskEnded):
    """The task was cancelled."""

    code = "cancelled"


class TaskExpired(TaskEnded):
    """The task's deadline passed before it finished."""

    code = "expired"


def _classes(root: type[OutriderError]) -> dict[str, type[OutriderError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found = _classes(child) | found
    return found


def error_from_wire(body: Any) -> OutriderError | None:
    """The error an answer carries, or None; a task that failed has an `error` beside other fields."""
    if not isinstance(body, dict) or body.keys() != {"error"} or not isinstance(body["error"], dict):
        return None
    error = body["error"]
    kind = _classes(OutriderError).get(str(error.get("code")), OutriderError)
    message, hint = str(error.get("message", "")), str(error.get("hint", ""))
    try:
        return kind(message, hint=hint)
    except TypeError:
        # A class of errors that never go over the wire, so this is only a text.
        return OutriderError(message, hint=hint)
