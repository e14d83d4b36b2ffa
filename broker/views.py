"""Tasks, agents and an orchestrator as people and the CLI see them (design section 8).

Pure: shapes only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from outrider.broker.limits import LimitView
from outrider.broker.messages import DEFAULT_PRIORITY, TaskEnvelope
from outrider.broker.object_ref import ObjectRef
from outrider.broker.states import AgentState, TaskState


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as people and the CLI see it (design section 8)."""

    task_id: str
    kind: str
    state: TaskState
    agent: str | None = None
    attempts: int = 0
    predicted_s: float | None = None
    waiting_s: float | None = None
    service_s: float | None = None
    sojourn_s: float | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    priority: int = DEFAULT_PRIORITY
    submitted_at: float | None = None
    reason: str | None = None
    model: str | None = None
    p90_s: float | None = None
    payload_ref: ObjectRef | None = None
    result_ref: ObjectRef | None = None
    requeued_from: str | None = None
    run_at: float | None = None
    """When a task that is scheduled starts."""
    waits_for: str | None = None
    """The limit that keeps it waiting, for people."""
    after: tuple[str, ...] | None = None
    """The tasks that must end before it starts."""
    after_group: str | None = None
    """The group whose members must all end before it starts."""
    group: str | None = None
    """The group that it belongs to."""
    limit_key: str | None = None
    """Whose limits it counts against."""


def unstarted(
    envelope: TaskEnvelope,
    state: TaskState,
    *,
    submitted_at: float | None = None,
    waiting_s: float | None = None,
    run_at: float | None = None,
) -> TaskView:
    """A task that the ledger does not know yet; `submitted_at` where the envelope does not say it."""
    return TaskView(
        task_id=envelope.task_id,
        kind=envelope.kind,
        state=state,
        waiting_s=waiting_s,
        priority=envelope.priority,
        submitted_at=envelope.submitted_at or submitted_at,
        payload_ref=envelope.payload_ref,
        requeued_from=envelope.requeued_from,
        run_at=run_at,
        after=envelope.after,
        after_group=envelope.after_group,
        group=envelope.group,
        limit_key=envelope.limit_key,
    )


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as people and the CLI see it."""

    agent_id: str
    state: AgentState
    kinds: tuple[str, ...]
    slots: int
    in_flight: int
    last_seen_s: float | None = None
    labels: tuple[str, ...] = ()
    mean_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AgentsRequest:
    """Body of `<fleet>.agents`, which may be empty."""

    expected: str | None = None
    """A kind that an agent may have declared a moment ago; one that is unknown is waited for."""


@dataclass(frozen=True, slots=True)
class AgentList:
    """Answer to `<fleet>.agents`; `kinds` are all that were ever declared."""

    agents: tuple[AgentView, ...]
    kinds: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    """Kinds whose tasks wait because somebody said so."""
    refuses: str | None = None
    """Why no new task is taken now."""


@dataclass(frozen=True, slots=True)
class OrchestratorStats:
    """Answer to `<fleet>.stats`."""

    orchestrator: str
    in_flight: int
    held: int
    agents_online: int
    counters: dict[str, int] = field(default_factory=dict)
    is_paused: bool = False
    """The whole fleet is paused."""
    paused_kinds: tuple[str, ...] = ()
    """Kinds with a pause of their own."""
    dead_letters: int = 0
    """Neither requeued nor discarded."""
    ledger_used: float | None = None
    """How full LEDGER is, of 1."""
    refuses: str | None = None
    """Why no new task is taken now."""
    limits: tuple[LimitView, ...] | None = None
    """Limits in force, where there are any."""
