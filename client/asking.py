"""Requests to the orchestrator and to agents, with error answers raised as what they name."""

from __future__ import annotations

from typing import Any, TypeVar

from outrider.broker.codec import dump, encode, load
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import AgentNotFound, NobodyAnswers, OutriderError, Refused, error_from_wire
from outrider.broker.estimates import Estimate, EstimateRequest
from outrider.broker.limits import LimitList, LimitsRequest
from outrider.broker.messages import Done, Drain, TaskRequest
from outrider.broker.schema import from_map
from outrider.broker.streams import NOT_FOUND
from outrider.broker.subjects import Subjects, check_name
from outrider.broker.views import AgentList, AgentsRequest, OrchestratorStats, TaskView

T = TypeVar("T")
ANSWER_WITHIN_S = 5.0


class Asker:
    """What can be asked of a fleet. Every method raises NobodyAnswers, TimedOut or NatsUnavailable."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self._connection = connection
        self._subjects = subjects

    @property
    def fleet(self) -> str:
        return self._subjects.fleet

    async def get(self, task_id: str) -> TaskView:
        """The task as the orchestrator sees it. Raises TaskNotFound."""
        return await self.ask(self._subjects.get, TaskRequest(check_name(task_id, "task_id")), TaskView)

    async def cancel(self, task_id: str, reason: str) -> TaskView:
        """End the task now. Raises TaskNotFound, or Refused when it is over."""
        request = TaskRequest(check_name(task_id, "task_id"), reason)
        return await self.ask(self._subjects.cancel, request, TaskView)

    async def agents(self, expected: str | None = None) -> AgentList:
        """Who is there; a kind that is `expected` may take its orchestrators a moment to hear of."""
        request = AgentsRequest(expected) if expected is not None else None
        return await self.ask(self._subjects.agents, request, AgentList)

    async def stats(self) -> OrchestratorStats:
        return await self.ask(self._subjects.stats, None, OrchestratorStats)

    async def estimate(self, request: EstimateRequest) -> Estimate:
        """When such a task would finish. Raises UnknownKind, InvalidTask or InvalidName."""
        return await self.ask(self._subjects.estimate, request, Estimate)

    async def limits(self, request: LimitsRequest) -> LimitList:
        """Set or remove a limit, or neither. Raises InvalidName, InvalidLimit or Refused."""
        return await self.ask(self._subjects.limits, request, LimitList)

    async def drain(self, agent_id: str, reason: str) -> Done:
        """Let an agent finish what it has and take nothing new. Raises AgentNotFound or Refused."""
        subject = self._subjects.agent(check_name(agent_id, "agent id"), "drain")
        try:
            return await self.ask(subject, Drain(reason), Done)
        except NobodyAnswers:
            raise await self._why_no_agent(agent_id) from None

    async def _why_no_agent(self, agent_id: str) -> OutriderError:
        known = [agent.agent_id for agent in (await self.agents()).agents]
        if agent_id not in known:
            return AgentNotFound(f"no agent {agent_id!r} has joined; known: {', '.join(known) or 'none'}")
        return Refused(f"agent {agent_id} is not there any more", hint="outrider agent ls shows its state")

    async def has_queue(self) -> bool:
        """Whether this fleet's TASKS stream exists."""
        try:
            await self._connection.api(f"STREAM.INFO.{self._subjects.tasks_stream}")
        except ApiError as error:
            if error.err_code == NOT_FOUND:
                return False
            raise
        except NobodyAnswers:
            raise NobodyAnswers(
                "this NATS server has no JetStream", hint="start it with -js, or see nats.conf"
            ) from None
        return True

    async def ask(self, subject: str, message: Any, kind: type[T]) -> T:
        """The answer to a request (a message or a plain map); an error answer is raised as what it names."""
        body = b"{}" if message is None else dump(message) if isinstance(message, dict) else encode(message)
        answer = load((await self._connection.request(subject, body, ANSWER_WITHIN_S)).data)
        error = error_from_wire(answer)
        if error is not None:
            raise error
        return from_map(kind, answer)
