"""What operators ask of a fleet: dead letters and pauses. Talks to the orchestrator and reads stories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from outrider.broker.errors import TaskNotFound
from outrider.broker.letters import DeadLetter, LetterList, LetterRequest
from outrider.broker.pausing import PauseRequest, PauseState
from outrider.broker.schema import to_map
from outrider.broker.subjects import Subjects, parse_ledger
from outrider.broker.views import TaskView
from outrider.client.asking import Asker
from outrider.client.reading import Reader, records_of
from outrider.ledger.fold import Record, fold_story

A_PAGE = 200
"""Letters dealt with in one request, so that its answer comes within its time."""


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters; what is not given lets all through. Ages in seconds since the task died."""

    kind: str = ""
    error_class: str = ""
    older_than_s: float | None = None
    newer_than_s: float | None = None

    def request(self, **fields: Any) -> LetterRequest:
        """A request for those, every one of them when there is nothing to filter by."""
        given = (self.kind, self.error_class, self.older_than_s, self.newer_than_s)
        return LetterRequest("", True, *given, **fields)


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One entry of a task's story: its place, its writer, and what it says, as a plain map."""

    seq: int
    stored_at: float
    role: str
    writer: str
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LetterStory:
    """A dead letter with the whole story of its task, payload included."""

    letter: DeadLetter
    view: TaskView
    payload: Any
    entries: tuple[StoryEntry, ...]


class Operator:
    """Requests about dead letters and pauses. Every method raises NobodyAnswers or NatsUnavailable."""

    def __init__(self, asker: Asker, subjects: Subjects, reader: Reader) -> None:
        self._asker = asker
        self._subjects = subjects
        self._reader = reader

    async def letters(self, wanted: LetterFilter, limit: int) -> LetterList:
        """Up to `limit` letters, newest first, by as many pages as it takes."""
        return await self._pages(self._subjects.dead, wanted.request(), limit)

    async def page(self, wanted: LetterFilter, limit: int, before: int | None) -> LetterList:
        """One request's worth of letters. Raises InvalidTask or InvalidName for a filter without sense."""
        request = wanted.request(limit=limit, before=before).check()
        return await self._asker.ask(self._subjects.dead, request, LetterList)

    async def requeue(self, which: str | LetterFilter, reason: str, *, dry_run: bool) -> LetterList:
        return await self._deal(self._subjects.requeue, which, reason, dry_run)

    async def discard(self, which: str | LetterFilter, reason: str, *, dry_run: bool) -> LetterList:
        return await self._deal(self._subjects.discard, which, reason, dry_run)

    async def _deal(self, subject: str, which: str | LetterFilter, reason: str, dry_run: bool) -> LetterList:
        if isinstance(which, str):
            request = LetterRequest(which, dry_run=dry_run, reason=reason).check()
            return await self._asker.ask(subject, request, LetterList)
        return await self._pages(subject, which.request(dry_run=dry_run, reason=reason), None)

    async def _pages(self, subject: str, request: LetterRequest, limit: int | None) -> LetterList:
        found: list[DeadLetter] = []
        matched: int | None = None
        while True:
            left = A_PAGE if limit is None else min(A_PAGE, limit - len(found))
            page = await self._asker.ask(subject, replace(request, limit=left).check(), LetterList)
            found += page.letters
            matched = page.matched if matched is None else matched
            is_enough = limit is not None and len(found) >= limit
            if page.next_before is None or is_enough:
                return replace(page, letters=tuple(found), matched=matched)
            request = replace(request, before=page.next_before)

    async def story(self, task_id: str) -> LetterStory:
        """A dead letter with all that happened to it. Raises TaskNotFound, or Refused when it is not dead."""
        answer = await self._asker.ask(self._subjects.dead, LetterRequest(task_id).check(), LetterList)
        if not answer.letters:
            raise TaskNotFound(f"no task {task_id!r} is dead")
        records = records_of(await self._reader.stored(task_id))
        story = fold_story(task_id, records)
        payload = story.envelope.payload if story.envelope else None
        entries = tuple(_story_entry(record) for record in records)
        return LetterStory(answer.letters[0], story.view(), payload, entries)

    async def pause(self, kind: str | None, reason: str) -> PauseState:
        request = PauseRequest(kind or "", kind is None, reason).check()
        return await self._asker.ask(self._subjects.pause, request, PauseState)

    async def resume(self, kind: str | None, reason: str) -> PauseState:
        request = PauseRequest(kind or "", kind is None, reason).check()
        return await self._asker.ask(self._subjects.resume, request, PauseState)


def _story_entry(record: Record) -> StoryEntry:
    where = parse_ledger(record.subject)
    return StoryEntry(record.seq, record.stored_at, where.role, where.writer, to_map(record.entry))
