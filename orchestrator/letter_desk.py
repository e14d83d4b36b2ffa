"""Dead letters on request: list them, requeue or discard one or those that fit a filter.

The index says where to look, the ledger decides. A new task is stored before the fact that it was
requeued, so that a crash between the two loses nothing; asking again finds the same task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from outrider.broker.codec import decode
from outrider.broker.errors import DecodeError, OutriderError, Refused, TaskNotFound, WrongSequence
from outrider.broker.follower import Stored
from outrider.broker.letters import DeadLetter, LetterList, LetterRequest
from outrider.broker.messages import TaskEnvelope
from outrider.broker.pipeline import guard
from outrider.broker.states import TaskState
from outrider.ledger.control import Control, letter_control_id, requeued_id
from outrider.ledger.entries import Closed
from outrider.ledger.fold import Story
from outrider.ledger.reader import LedgerReader, record_of
from outrider.orchestrator import events
from outrider.orchestrator.desk import Desk
from outrider.orchestrator.letters import Letter
from outrider.orchestrator.submission import Submission

LOOKED_AT_ONCE = 5_000
"""Letters compared with a filter before others get their turn."""

Deed = Callable[[Story, str], Awaitable[str | None]]
"""What is done with one dead task; returns the id of the task that it is requeued as."""


class LetterDesk:
    """The endpoints about dead letters of one orchestrator."""

    def __init__(self, desk: Desk, ledger: LedgerReader, submission: Submission) -> None:
        self._desk = desk
        self._memory = desk.core.memory
        self._ledger = ledger
        self._submission = submission

    async def dead(self, _: str, data: bytes) -> LetterList:
        """The dead letters that nobody dealt with, newest first, a page at a time."""
        request = decode(LetterRequest, data).check() if data else LetterRequest()
        if request.task_id:
            return _only(self._shown(await self._dead_story(request.task_id)))
        return await self._page(request, None)

    async def requeue(self, _: str, data: bytes) -> LetterList:
        """Do dead tasks again, as new tasks. Raises InvalidTask, TaskNotFound or Refused."""
        return await self._deal(decode(LetterRequest, data).check_is_meant(), self._requeue)

    async def discard(self, _: str, data: bytes) -> LetterList:
        """Have dead letters listed no more. Raises InvalidTask, TaskNotFound or Refused."""
        return await self._deal(decode(LetterRequest, data).check_is_meant(), self._discard)

    async def _deal(self, request: LetterRequest, deed: Deed) -> LetterList:
        if not request.task_id:
            return await self._page(request, None if request.dry_run else deed)
        story = await self._dead_story(request.task_id)
        shown = self._shown(story)
        if request.dry_run:
            return replace(_only(shown), dry_run=True)
        return _only(replace(shown, requeued_as=await deed(story, request.reason)))

    async def _dead_story(self, task_id: str) -> Story:
        story = await self._ledger.story(task_id)
        if not story.expect:
            raise TaskNotFound(f"the ledger knows no task {task_id!r}")
        if story.state is not TaskState.DEAD:
            raise Refused(f"task {task_id} is {story.state.value}, not dead")
        return story

    def _shown(self, story: Story) -> DeadLetter:
        entry = story.last
        reason = entry.reason if isinstance(entry, Closed) else ""
        view = story.view()
        code = str((view.error or {}).get("code", ""))
        return DeadLetter(story.task_id, view.kind, code, reason, story.attempt, story.last_at, story.epoch)

    async def _page(self, request: LetterRequest, deed: Deed | None) -> LetterList:
        """The newest letters that fit, with the deed done to each if there is one."""
        found = await self._matching(request)
        letters: list[DeadLetter] = []
        page = found[: request.limit]
        for letter in page:
            shown = await self._read(letter)
            if shown is not None:
                letters.append(await self._with_deed(shown, deed, request.reason))
        more = page[-1].seq if len(found) > len(page) else None
        unlisted = self._memory.letters.unlisted
        return LetterList(tuple(letters), len(found), more, unlisted, request.dry_run)

    async def _matching(self, request: LetterRequest) -> list[Letter]:
        letters = self._memory.letters.newest_first()
        now = self._memory.now
        found: list[Letter] = []
        for first in range(0, len(letters), LOOKED_AT_ONCE):
            found += [one for one in letters[first : first + LOOKED_AT_ONCE] if _fits(one, request, now)]
            await asyncio.sleep(0)
        return found

    async def _read(self, letter: Letter) -> DeadLetter | None:
        """The letter as the ledger has it; None, and forgotten, when the ledger has it no more."""
        stored = await self._ledger.at(letter.seq)
        entry = _closed_in(stored)
        if stored is None or entry is None:
            self._memory.letters.forget(letter.seq)
            return None
        return DeadLetter(
            letter.task_id,
            letter.kind,
            entry.error_class or entry.type,
            entry.reason,
            letter.attempts,
            stored.stored_at,
            letter.seq,
        )

    async def _with_deed(self, shown: DeadLetter, deed: Deed | None, reason: str) -> DeadLetter:
        if deed is None:
            return shown
        try:
            story = await self._dead_story(shown.task_id)
            return replace(shown, requeued_as=await deed(story, reason))
        except OutriderError as error:
            return replace(shown, error=error.to_wire()["error"])

    async def _requeue(self, story: Story, reason: str) -> str:
        envelope, seq = story.envelope, story.epoch
        if envelope is None:
            raise Refused(
                f"task {story.task_id} could not be read, so nothing can be done again",
                hint="submit it anew, then discard this one",
            )
        if await self._ledger.has(self._desk.subjects.control(letter_control_id("discarded", seq))):
            raise Refused(f"task {story.task_id} was discarded", hint="submit it anew")
        new = self._again(envelope, story.task_id, seq)
        await self._submission.place(new)
        entry = self._fact("requeued", story, reason)
        await self._record(replace(entry, requeued_as=new.task_id))
        return new.task_id

    def _again(self, envelope: TaskEnvelope, task_id: str, seq: int) -> TaskEnvelope:
        """The same work as a new task.

        Its deadline counts anew, its key and its group stay with
        the dead one, and what it waited for is over.
        """
        now = self._desk.clock.wall()
        span_s = None
        if envelope.deadline_at is not None and envelope.submitted_at:
            span_s = max(0.0, envelope.deadline_at - envelope.submitted_at)
        return replace(
            envelope,
            task_id=requeued_id(task_id, seq),
            deadline_at=None if span_s is None else now + span_s,
            idempotency_key=None,
            after=None,
            on_failure=None,
            group=None,
            group_size=None,
            after_group=None,
            after_group_size=None,
            submitted_at=now,
            requeued_from=task_id,
        )

    async def _discard(self, story: Story, reason: str) -> None:
        await self._record(self._fact("discarded", story, reason))

    def _fact(self, type_: str, story: Story, reason: str) -> Control:
        kind = story.view().kind
        me, at = self._memory.me, self._desk.clock.wall()
        return Control(type_, kind, story.task_id, story.epoch, "", reason, me, at)

    async def _record(self, control: Control) -> None:
        """Write a fact about a letter, once whoever says it; our own index learns it at once."""
        control_id = letter_control_id(control.type, control.dead_seq)
        try:
            seq = await self._desk.record(
                control, control_id, guard(0, self._desk.subjects.control(control_id))
            )
        except WrongSequence:
            seq = 0
        self._desk.post(events.ControlStored(control, seq))


def _only(letter: DeadLetter) -> LetterList:
    return LetterList((letter,), 1)


def _closed_in(stored: Stored | None) -> Closed | None:
    try:
        entry = record_of(stored).entry if stored is not None else None
    except DecodeError:
        return None
    return entry if isinstance(entry, Closed) and entry.type == "dead" else None


def _fits(letter: Letter, request: LetterRequest, now: float) -> bool:
    if request.before is not None and letter.seq >= request.before:
        return False
    if request.kind and letter.kind != request.kind:
        return False
    if request.error_class and letter.error_class != request.error_class:
        return False
    age_s = now - letter.died_at
    if request.older_than_s is not None and age_s < request.older_than_s:
        return False
    return request.newer_than_s is None or age_s <= request.newer_than_s
