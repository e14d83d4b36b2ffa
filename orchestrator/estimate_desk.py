"""Answers `<fleet>.estimate`: counts who waits ahead, asks the router, and leaves the arithmetic to others.

Nothing here lies on the path of a task.
"""

from __future__ import annotations

import logging
import uuid

from outrider.broker.codec import decode, encode, load
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import OutriderError, UnknownKind, error_from_wire
from outrider.broker.estimates import Estimate, EstimateBasis, EstimateRequest, facts_when_queued
from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteRequest, RouteTask
from outrider.broker.schema import from_map
from outrider.broker.streams import NOT_FOUND
from outrider.broker.subjects import Subjects
from outrider.orchestrator import estimating
from outrider.orchestrator.core import Core
from outrider.orchestrator.estimating import Forecast
from outrider.orchestrator.newcomers import Newcomers

log = logging.getLogger(__name__)

CONSUMER_NOT_FOUND = 10014


class EstimateDesk:
    """Tells when a task would finish, without taking it."""

    def __init__(self, connection: Connection, subjects: Subjects, core: Core, newcomers: Newcomers) -> None:
        self._connection = connection
        self._subjects = subjects
        self._core = core
        self._newcomers = newcomers

    async def estimate(self, _: str, data: bytes) -> Estimate:
        """Raises DecodeError, InvalidName, InvalidTask or UnknownKind."""
        request = decode(EstimateRequest, data).check()
        memory = self._core.memory
        if not await self._newcomers.knows(request.kind):
            known = ", ".join(sorted(memory.agents.declared)) or "none so far"
            raise UnknownKind(f"no agent ever declared kind {request.kind!r}; known kinds: {known}")
        ahead = await self._ahead(request.kind, request.priority)
        facts = request.facts or facts_when_queued(
            request.kind, request.payload, request.priority, request.requires
        )
        agents = estimating.able(memory, request)
        asked = estimating.offered(agents, ahead, request.kind, memory.thresholds.most_candidates)
        forecast = await self._by_router(request, facts, asked) if asked else None
        forecast = forecast or estimating.by_averages(asked, request.kind)
        return estimating.estimate(memory, request, agents, ahead, forecast)

    async def _ahead(self, kind: str, priority: int) -> int:
        """Tasks of the kind that wait with this or a higher priority, held ones included."""
        consumers = [self._subjects.consumer(kind, first) for first in range(priority + 1)]
        return sum([await self._waiting_at(consumer) for consumer in consumers])

    async def _waiting_at(self, consumer: str) -> int:
        try:
            info = await self._connection.api(f"CONSUMER.INFO.{self._subjects.tasks_stream}.{consumer}")
        except ApiError as error:
            if error.err_code in (NOT_FOUND, CONSUMER_NOT_FOUND):
                return 0
            raise
        return int(info.get("num_pending", 0)) + int(info.get("num_ack_pending", 0))

    async def _by_router(
        self, request: EstimateRequest, facts: TaskFacts, agents: tuple[RouteAgent, ...]
    ) -> Forecast | None:
        """The router's candidates, the best first; None when it does not answer in its budget."""
        task = RouteTask(f"estimate-{uuid.uuid4().hex}", request.kind, request.priority, 1, facts)
        budget_s = self._core.memory.thresholds.route_budget_s
        try:
            body = encode(RouteRequest((task,), agents))
            answer = load((await self._connection.request(self._subjects.route, body, budget_s)).data)
            error = error_from_wire(answer)
            if error is not None:
                raise error
            found = from_map(RouteAnswer, answer)
        except OutriderError as error:
            log.info("estimating without the router: %s", error.message)
            return None
        known = {agent.agent_id for agent in agents}
        candidates = [c for choice in found.choices for c in choice.candidates if c.agent_id in known]
        sound = [c for c in candidates if c.p50_s >= 0 and c.p90_s >= c.p50_s and c.waiting_s >= 0]
        if not sound:
            return None
        sound.sort(key=lambda candidate: candidate.finish_s)
        return Forecast(tuple(sound), EstimateBasis.ROUTER, found.model)
