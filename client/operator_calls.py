"""What an operator asks of a fleet: the client's calls about dead letters, pauses and schedules."""

from __future__ import annotations

from collections.abc import Callable

from outrider.broker.letters import DeadLetter, LetterList
from outrider.broker.pausing import PauseState
from outrider.broker.views import TaskView
from outrider.client.listing import DEFAULT_LIMIT
from outrider.client.operating import LetterFilter, LetterStory, Operator
from outrider.client.scheduling import Schedules, ScheduleView


class OperatorCalls:
    """The calls of `Client` about dead letters, pauses and schedules."""

    _operator: Operator
    _schedules: Schedules

    async def dead_letters(
        self, which: LetterFilter | None = None, limit: int = DEFAULT_LIMIT
    ) -> tuple[DeadLetter, ...]:
        """The dead tasks that nobody requeued or discarded, newest first. Raises NobodyAnswers."""
        return (await self._operator.letters(which or LetterFilter(), limit)).letters

    async def letter_page(self, which: LetterFilter, limit: int, before: int | None = None) -> LetterList:
        """One page of `dead_letters`: with `before`, the `next_before` of the page that came before it."""
        return await self._operator.page(which, limit, before)

    async def dead_letter(self, task_id: str) -> LetterStory:
        """One dead task with its whole story. Raises TaskNotFound, Refused when it is not dead."""
        return await self._operator.story(task_id)

    async def requeue(
        self, which: str | LetterFilter, *, dry_run: bool = False, reason: str = ""
    ) -> LetterList:
        """Do a dead task again, by its id, or all that fit a filter: each becomes a new task.

        The same dead task again gives the same new task. A `dry_run` only tells which it would be.
        Raises TaskNotFound and Refused for one; of many, each letter carries its own error.
        """
        return await self._operator.requeue(which, reason, dry_run=dry_run)

    async def discard(
        self, which: str | LetterFilter, *, dry_run: bool = False, reason: str = ""
    ) -> LetterList:
        """Have a dead task, or all that fit a filter, listed no more. Errors as for `requeue`."""
        return await self._operator.discard(which, reason, dry_run=dry_run)

    async def pause(self, kind: str | None = None, reason: str = "") -> PauseState:
        """Start no more attempts of a kind, or of any without one; what runs goes on. Raises UnknownKind."""
        return await self._operator.pause(kind, reason)

    async def resume(self, kind: str | None = None, reason: str = "") -> PauseState:
        """Let a kind go on, or without one all that is paused."""
        return await self._operator.resume(kind, reason)

    async def schedules(
        self, limit: int = DEFAULT_LIMIT, which: Callable[[ScheduleView], bool] | None = None
    ) -> list[ScheduleView]:
        """Cron schedules and delayed tasks, all or those that fit `which`, the soonest first."""
        return await self._schedules.all(limit, which)

    async def scheduled(self, task_id: str) -> ScheduleView | None:
        """The schedule or delayed task of this id, or None."""
        return await self._schedules.find(task_id)

    async def unschedule(self, schedule_id: str) -> TaskView:
        """Remove a schedule; tasks that it made go on. Raises TaskNotFound."""
        return await self._schedules.remove(schedule_id)
