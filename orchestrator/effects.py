"""The core's instructions become messages; what comes of them goes back to the core as events.

Holds the payloads and queue messages of tasks that are not safely with an agent yet, and decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from outrider.broker.clock import Clock
from outrider.broker.codec import dump, encode
from outrider.broker.connection import Connection
from outrider.broker.errors import OutcomeUnknown, OutriderError, QueueFull
from outrider.broker.messages import Assignment, CancelAttempt, Ping, Renew, TaskEnvelope
from outrider.broker.pipeline import Appender, Pulled, Receipt, ack, give_back, guard
from outrider.broker.routing import RouteReason
from outrider.broker.schema import to_map
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned, Blocked, Entry
from outrider.ledger.reader import LedgerReader, record_of
from outrider.orchestrator import events, instructions
from outrider.orchestrator.config import Thresholds
from outrider.orchestrator.inbox import Door
from outrider.orchestrator.lookup import TaskLookup

log = logging.getLogger(__name__)

FULL_PAUSE_S = 1.0
"""After a write that a full ledger refused."""


@dataclass(frozen=True, slots=True)
class Wires:
    """What ties the effects to their shell."""

    clock: Clock
    post: Callable[[events.Event], None]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    announce: Callable[[str, str], None]


class Effects:
    """Carries out instructions in order; slow ones run beside in the shell's task group."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        orchestrator_id: str,
        thresholds: Thresholds,
        wires: Wires,
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._me = orchestrator_id
        self._route_budget_s = thresholds.route_budget_s
        self._clock = wires.clock
        self._post = wires.post
        self._spawn = wires.spawn
        self._reader = LedgerReader(connection, subjects)
        self._lookup = TaskLookup(connection, subjects, self._reader)
        self.appender = Appender(connection)
        self.envelopes: dict[str, TaskEnvelope] = {}
        self.queued: dict[str, Pulled] = {}
        """Messages of the queue that are held and not acked yet."""
        self.assign_inbox = connection.new_inbox()
        self.route_inbox = connection.new_inbox()
        self._rounds: dict[int, asyncio.TimerHandle] = {}
        self._door = Door(wires.clock)
        self.ping_inbox = connection.new_inbox()
        self._do: dict[type, Callable[[Any], Coroutine[Any, Any, None]]] = {
            instructions.Write: self._write,
            instructions.WriteMember: self._write_member,
            instructions.ReadStory: self._read_story,
            instructions.ReadParents: self._read_parents,
            instructions.Route: self._route,
            instructions.Assign: self._assign,
            instructions.Release: self._release,
            instructions.AckTask: self._ack,
            instructions.GiveBack: self._give_back,
            instructions.StopAttempt: self._stop_attempt,
            instructions.Renew: self._renew,
            instructions.PingAgent: self._ping,
            instructions.Announce: self._announce,
        }
        self._told = wires.announce

    async def carry_out(self, instruction: instructions.Instruction) -> None:
        await self._do[type(instruction)](instruction)

    async def _write(self, i: instructions.Write) -> None:
        body = self._complete(i.entry, i.expect)
        task_id = i.task_id

        def receipt(r: Receipt) -> None:
            if r.error is None:
                self._post(events.Written(task_id, i.number, r.seq))
                return
            unknown = isinstance(r.error, OutcomeUnknown)
            failed = events.WriteFailed(task_id, i.number, not unknown, r.error.message)
            if isinstance(r.error, QueueFull):
                # Whoever hears of it reads the story and writes again: not as fast as it can.
                asyncio.get_running_loop().call_later(FULL_PAUSE_S, self._post, failed)
            else:
                self._post(failed)

        subject = self._subjects.ledger_orchestrator(task_id, self._me)
        headers = guard(i.expect, self._subjects.story(task_id))
        await self.appender.send(subject, dump(body), receipt, headers)

    def _complete(self, entry: Entry, expect: int) -> dict[str, Any]:
        """Add what memory does not keep: the task itself with its first entry, and the time as a label."""
        body = to_map(entry)
        body["at"] = self._clock.wall()
        envelope = self.envelopes.get(entry.task_id) if expect == 0 else None
        if envelope is not None:
            body["envelope"] = to_map(envelope)
        return body

    async def _write_member(self, i: instructions.WriteMember) -> None:
        member = replace(i.member, at=self._clock.wall())

        def receipt(r: Receipt) -> None:
            if r.error is not None:
                log.warning("agent %s %s is not in the ledger: %s", member.agent_id, member.type, r.error)

        log.info("agent %s %s %s", member.agent_id, member.type, member.why)
        await self.appender.send(self._subjects.member(member.agent_id), encode(member), receipt)

    async def _read_story(self, i: instructions.ReadStory) -> None:
        self._spawn(self._read_until_known(i.task_id))

    async def _read_until_known(self, task_id: str) -> None:
        delay_s = 0.05
        while True:
            try:
                story = await self._reader.story(task_id)
                break
            except OutriderError as error:
                log.warning("story of %s cannot be read yet: %s", task_id, error.message)
                await asyncio.sleep(delay_s)
                delay_s = min(2.0, delay_s * 2)
        self._post(events.StoryRead(task_id, story))

    async def _read_parents(self, i: instructions.ReadParents) -> None:
        self._spawn(self._read_until_found(i.task_ids))

    async def _read_until_found(self, task_ids: tuple[str, ...]) -> None:
        states = await self._lookup.states_for_certain(task_ids)
        self._post(events.ParentsRead(tuple(states.items())))

    async def _route(self, i: instructions.Route) -> None:
        number = i.round
        give_up = asyncio.get_running_loop().call_later(self._route_budget_s, self._route_late, number)
        self._rounds[number] = give_up
        await self._connection.publish(
            self._subjects.route, encode(i.request), f"{self.route_inbox}.{number}"
        )

    def _route_late(self, number: int) -> None:
        if self._rounds.pop(number, None) is not None:
            self._post(events.RouteFailed(number, RouteReason.FALLBACK_TIMEOUT))

    async def routed(self, message: Any) -> None:
        """The router's answer to one round, read from `<inbox>.<round>`; a late one is not heard."""
        number = int(message.subject.rpartition(".")[2])
        give_up = self._rounds.pop(number, None)
        if give_up is not None:
            give_up.cancel()
            self._post(self._door.route_answer(number, message))

    async def _assign(self, i: instructions.Assign) -> None:
        envelope = self.envelopes.get(i.task_id)
        if envelope is None:
            self._spawn(self._assign_from_ledger(i))
        else:
            await self._tell(i, envelope)

    async def _assign_from_ledger(self, i: instructions.Assign) -> None:
        """The payload of a later attempt stands in the ledger, with the first."""
        try:
            stored = await self._reader.at(i.envelope_seq)
            entry = record_of(stored).entry if stored is not None else None
        except OutriderError as error:
            log.warning("payload of %s cannot be read yet: %s", i.task_id, error.message)
            return
        if isinstance(entry, (Assigned, Blocked)) and entry.envelope is not None:
            await self._tell(i, entry.envelope)
        else:
            log.error("payload of %s is not in the ledger at %d", i.task_id, i.envelope_seq)

    async def _tell(self, i: instructions.Assign, envelope: TaskEnvelope) -> None:
        assignment = Assignment(
            i.task_id,
            envelope.kind,
            i.attempt,
            i.epoch,
            i.expect,
            envelope.payload,
            envelope.priority,
            envelope.timeout_s,
            envelope.deadline_at,
            self._me,
            envelope.payload_ref,
        )
        subject = self._subjects.agent(i.agent_id, "assign")
        reply = f"{self.assign_inbox}.{i.task_id}.{i.epoch}"
        await self._connection.publish(subject, encode(assignment), reply)

    async def _release(self, i: instructions.Release) -> None:
        if i.task_id not in self.queued:
            self.envelopes.pop(i.task_id, None)

    async def _ack(self, i: instructions.AckTask) -> None:
        pulled = self.queued.pop(i.task_id, None)
        if pulled is not None:
            await ack(self._connection, pulled)

    async def _give_back(self, i: instructions.GiveBack) -> None:
        pulled = self.queued.pop(i.task_id, None)
        if pulled is not None:
            await give_back(self._connection, pulled, i.delay_s)

    async def _stop_attempt(self, i: instructions.StopAttempt) -> None:
        body = encode(CancelAttempt(i.task_id, i.epoch, i.reason))
        await self._connection.publish(self._subjects.agent(i.agent_id, "cancel"), body)

    async def _renew(self, i: instructions.Renew) -> None:
        body = encode(Renew(i.task_id, i.attempt, i.epoch, i.expect))
        await self._connection.publish(self._subjects.agent(i.agent_id, "renew"), body)

    async def _ping(self, i: instructions.PingAgent) -> None:
        subject = self._subjects.agent(i.agent_id, "ping")
        await self._connection.publish(subject, encode(Ping(i.instance)), f"{self.ping_inbox}.{i.agent_id}")

    async def _announce(self, i: instructions.Announce) -> None:
        self._told(i.task_id, i.state)
