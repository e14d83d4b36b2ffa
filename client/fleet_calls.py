"""The client's questions about the fleet: who is there, and when a task would finish.

Knows only who asks the orchestrator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from outrider.broker.errors import InvalidTask, NobodyAnswers, Refused, TimedOut
from outrider.broker.estimates import CanMeet, Estimate, EstimateRequest, facts_when_queued
from outrider.broker.messages import DEFAULT_PRIORITY, Done, TaskEnvelope
from outrider.broker.views import AgentView, OrchestratorStats
from outrider.client.asking import Asker
from outrider.client.scheduling import Arrangement

NO_ESTIMATE = "no orchestrator answers: when the task will finish is not known"


class FleetCalls:
    """Agents, kinds, counters and estimates. Every method raises NobodyAnswers or TimedOut."""

    _asker: Asker

    async def agents(self) -> tuple[AgentView, ...]:
        """Every agent that the orchestrator knows."""
        return (await self._asker.agents()).agents

    async def kinds(self) -> tuple[str, ...]:
        """Every kind that an agent ever declared."""
        return (await self._asker.agents()).kinds

    async def drain(self, agent_id: str, reason: str = "") -> Done:
        """Let an agent finish and take nothing new. Raises AgentNotFound."""
        return await self._asker.drain(agent_id, reason)

    async def stats(self) -> OrchestratorStats:
        """Counters of the orchestrator that answers."""
        return await self._asker.stats()

    async def estimate(
        self,
        kind: str,
        payload: Any = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        deadline_s: float | None = None,
        requires: Iterable[str] = (),
        limit_key: str | None = None,
    ) -> Estimate:
        """When such a task would finish if it were submitted now; nothing is submitted.

        Only sizes of the payload are sent. With `deadline_s` the answer says whether it can be met.
        Raises UnknownKind, InvalidTask or InvalidName.
        """
        labels = tuple(requires)
        facts = facts_when_queued(kind, payload, priority, labels)
        request = EstimateRequest(kind, None, priority, deadline_s, labels, limit_key, facts)
        return await self._asker.estimate(request.check())

    async def _foreseen(
        self, envelope: TaskEnvelope, payload: Any, deadline_s: float | None, when: Arrangement
    ) -> tuple[Estimate | None, str | None]:
        """Takes `eta` and `refuse_late` out of the options: the estimate and what to warn of.

        Raises Refused when the deadline cannot be met and the task shall not be submitted then.
        """
        wants_eta, refuses = when.pop("eta", False), when.pop("refuse_late", False)
        if not (wants_eta or refuses):
            return None, None
        if refuses and deadline_s is None:
            raise InvalidTask("refuse_late goes with a deadline")
        if when or envelope.waits is not None:
            raise InvalidTask("eta and refuse_late are for a task that starts now")
        try:
            found = await self.estimate(
                envelope.kind,
                payload,
                priority=envelope.priority,
                deadline_s=deadline_s,
                requires=envelope.requires,
                limit_key=envelope.limit_key,
            )
        except (NobodyAnswers, TimedOut):
            return None, NO_ESTIMATE
        if refuses and found.can_meet is CanMeet.NO:
            raise Refused(
                f"not submitted: {found.about_deadline()}", hint="give it more time or a higher priority"
            )
        return found, found.about_deadline() or found.warning
