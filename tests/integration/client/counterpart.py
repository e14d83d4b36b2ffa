"""A tiny fleet for client tests: writes the entries that orchestrator and agent would write, when told."""

from __future__ import annotations

from typing import Any

from outrider.broker.codec import decode, encode
from outrider.broker.connection import Connection
from outrider.broker.follower import StreamReader
from outrider.broker.messages import Chunk, ChunkType, TaskEnvelope
from outrider.broker.outcomes import Succeeded
from outrider.broker.pipeline import Appender, Pulled, Puller, ack
from outrider.broker.routing import RouteReason
from outrider.broker.service import Endpoints
from outrider.broker.states import AgentState
from outrider.broker.streams import ensure_streams, ensure_task_consumer
from outrider.broker.subjects import Subjects
from outrider.broker.views import AgentList, AgentView
from outrider.ledger.entries import Assigned, Closed, Ended, Entry


class Counterpart:
    """One orchestrator `o-1` and any number of agents, on the wire only."""

    def __init__(self, connection: Connection, subjects: Subjects) -> None:
        self.connection = connection
        self.subjects = subjects
        self.appender = Appender(connection)
        self.endpoints = Endpoints(connection, "counterpart", "0.1.0", "stands in for an orchestrator")
        self.agents = [AgentView("a-1", AgentState.ONLINE, ("chat", "echo"), slots=4, in_flight=0)]
        self.kinds = ("chat", "echo", "summarize")
        self.asked = 0

    async def start(self) -> None:
        await ensure_streams(self.connection, self.subjects)
        await self.appender.start()

    async def answer_agents(self) -> None:
        async def agents(subject: str, data: bytes) -> AgentList:
            self.asked += 1
            return AgentList(tuple(self.agents), self.kinds)

        await self.endpoints.start()
        await self.endpoints.add("agents", self.subjects.agents, agents)
        await self.connection.settle()

    async def envelope(self, task_id: str) -> TaskEnvelope:
        reader = StreamReader(self.connection, self.subjects.tasks_stream)
        return decode(TaskEnvelope, (await reader.last_of([self.subjects.task_anywhere(task_id)]))[0].data)

    async def waiting(self) -> int:
        info = await self.connection.api(f"STREAM.INFO.{self.subjects.tasks_stream}")
        return int(info["state"]["messages"])

    async def append(self, subject: str, entry: Entry) -> int:
        return await self.appender.append(subject, encode(entry))

    async def take(self, task_id: str) -> int:
        """Assign a waiting task to `a-1` and take it out of TASKS; returns the epoch."""
        envelope = await self.envelope(task_id)
        epoch = await self.assign(task_id, envelope=envelope)
        subject = self.subjects.task(envelope.kind, envelope.priority, task_id)
        await self.connection.api(f"STREAM.PURGE.{self.subjects.tasks_stream}", {"filter": subject})
        return epoch

    async def assign(
        self,
        task_id: str,
        agent_id: str = "a-1",
        attempt: int = 1,
        epoch: int = 0,
        envelope: TaskEnvelope | None = None,
    ) -> int:
        """Write `assigned`; returns the new epoch."""
        entry = Assigned(
            task_id=task_id,
            attempt=attempt,
            agent_id=agent_id,
            instance="i-1",
            epoch=epoch,
            kind=envelope.kind if envelope else "chat",
            priority=5,
            reason=RouteReason.MODEL,
            p50_s=0.5,
            p90_s=0.9,
            waiting_s=0.1,
            envelope=envelope,
        )
        return await self.append(self.subjects.ledger_orchestrator(task_id, "o-1"), entry)

    async def lose(self, task_id: str, epoch: int, agent_id: str = "a-1", attempt: int = 1) -> int:
        entry = Ended(task_id, attempt, agent_id, epoch, "lost", "the agent went away")
        return await self.append(self.subjects.ledger_orchestrator(task_id, "o-1"), entry)

    async def succeed(
        self, task_id: str, epoch: int, result: Any, agent_id: str = "a-1", attempt: int = 1
    ) -> int:
        entry = Succeeded(task_id, attempt, agent_id, epoch, result, service_s=0.25)
        return await self.append(self.subjects.ledger_agent(task_id, agent_id), entry)

    async def close(self, task_id: str, type_: str, reason: str, epoch: int = 0) -> int:
        entry = Closed(task_id, epoch, type_, reason, kind="chat")
        return await self.append(self.subjects.ledger_orchestrator(task_id, "o-1"), entry)

    async def emit(self, task_id: str, attempt: int, offset: int, data: str, agent_id: str = "a-1") -> None:
        chunk = encode(Chunk(offset, ChunkType.OUTPUT, data))
        await self.appender.append(self.subjects.chunk(agent_id, task_id, attempt), chunk)

    async def serve_echo(self) -> None:
        """Finish every `echo` task at once, with its payload."""
        consumer = await ensure_task_consumer(self.connection, self.subjects, "echo", 5)

        async def pulled(message: Pulled) -> None:
            envelope = decode(TaskEnvelope, message.data)
            epoch = await self.assign(envelope.task_id, envelope=envelope)
            await ack(self.connection, message)
            await self.succeed(envelope.task_id, epoch, envelope.payload)
            await puller.want(2000)

        puller = Puller(self.connection, self.subjects.tasks_stream, consumer, pulled)
        await puller.start()
        await puller.want(2000)
