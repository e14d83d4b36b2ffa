"""Which tasks wait for which: an index from every task that is waited for to those that wait. Pure.

It decides nothing. What changed is noted, and looked at once the event that changed it is folded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from outrider.broker.flows import OnFailure, Waits, member_id, member_of
from outrider.orchestrator.timers import Timers

ASKED_AT_ONCE = 100
"""Tasks that are looked up in one read."""
MEMBERS_A_WEIGHT = 1024


@dataclass(slots=True)
class Barrier:
    """What one task still waits for."""

    task_id: str
    waits: Waits
    open: dict[str, None]
    """Those of `after` that are not known to have ended."""
    open_members: bytearray
    """1 for each member of the group that is not known to have ended."""
    left: int
    """How many are open in all."""
    unasked: deque[str] = field(default_factory=deque)
    """To be looked up, beside the members from `cursor` on."""
    cursor: int = 0
    unanswered: int = 0
    is_asked: bool = False
    is_queued: bool = False
    unknown: str = ""
    """One that neither the queue nor the ledger knows."""
    misses: int = 0
    """How often in a row one was unknown although the ledger said once that the task waits for it."""
    failed: str = ""
    """Why the task shall not run: what it waited for ended without success."""

    @property
    def weight(self) -> int:
        """Its share of the bound on what is kept in memory."""
        return 1 + len(self.open_members) // MEMBERS_A_WEIGHT

    @property
    def is_looked_up(self) -> bool:
        """Whether everything was looked up that it waits for."""
        return self.is_asked and not self.is_queued and self.unanswered == 0

    def open_ids(self) -> Iterator[str]:
        yield from self.open
        for number, is_open in enumerate(self.open_members):
            if is_open:
                yield member_id(self.waits.group, number)

    def close(self, parent: str) -> bool:
        """One that it waits for has ended; whether that is news."""
        if parent in self.open:
            del self.open[parent]
            self.left -= 1
            return True
        member = member_of(parent)
        if member is None or member[0] != self.waits.group or member[1] >= len(self.open_members):
            return False
        was_open = self.open_members[member[1]]
        self.open_members[member[1]] = 0
        self.left -= was_open
        return bool(was_open)


class Barriers:
    """All tasks that wait for others, by what they wait for."""

    def __init__(self) -> None:
        self.waiting: dict[str, Barrier] = {}
        self.weight = 0
        self._by_parent: dict[str, dict[str, None]] = {}
        self._by_group: dict[str, dict[str, None]] = {}
        self.over: list[tuple[str, str]] = []
        """Tasks that ended since the last look, with their state."""
        self.to_look_at: dict[str, None] = {}
        """Waiting tasks that something changed for."""
        self._asking: deque[str] = deque()
        self.asked: list[tuple[str, str]] = []
        """(waited for, waiting): the questions under way."""
        self.timers = Timers()
        """When to look anew whether an end was missed."""

    def __bool__(self) -> bool:
        return bool(self.waiting or self.to_look_at)

    def add(self, task_id: str, waits: Waits) -> Barrier:
        """The task waits from now on."""
        self.drop(task_id)
        members = bytearray(b"\1") * waits.group_size
        after = dict.fromkeys(waits.after)
        barrier = Barrier(task_id, waits, after, members, len(after) + len(members))
        self.waiting[task_id] = barrier
        self.weight += barrier.weight
        for parent in after:
            self._by_parent.setdefault(parent, {})[task_id] = None
        if waits.group:
            self._by_group.setdefault(waits.group, {})[task_id] = None
        return barrier

    def drop(self, task_id: str) -> None:
        """The task waits no more."""
        barrier = self.waiting.pop(task_id, None)
        if barrier is None:
            return
        self.weight -= barrier.weight
        self.timers.clear(task_id)
        for parent in barrier.open:
            _leave(self._by_parent, parent, task_id)
        if barrier.waits.group:
            _leave(self._by_group, barrier.waits.group, task_id)

    def children(self, parent: str) -> list[str]:
        """The tasks that wait for this one."""
        found = list(self._by_parent.get(parent, ()))
        member = member_of(parent) if self._by_group else None
        return found + list(self._by_group.get(member[0], ())) if member is not None else found

    def ended(self, parent: str, state: str) -> None:
        """A task is over: note what that means for each that waits for it."""
        for child in self.children(parent):
            barrier = self.waiting[child]
            if not barrier.close(parent):
                continue
            self.to_look_at[child] = None
            if state != "succeeded" and barrier.waits.on_failure is OnFailure.CANCEL:
                barrier.failed = barrier.failed or f"task {parent}, which it waited for, is {state}"
        self._by_parent.pop(parent, None)

    # ---- looking up

    def ask(self, barrier: Barrier, parents: Iterator[str] | None = None) -> None:
        """Have these looked up, or everything that is still open."""
        if parents is not None:
            barrier.unasked.extend(parents)
        else:
            barrier.is_asked, barrier.unknown = True, ""
            barrier.unasked = deque(barrier.open)
            barrier.cursor = 0
        if not barrier.is_queued:
            barrier.is_queued = True
            self._asking.append(barrier.task_id)

    def questions(self, is_here: Container[str]) -> tuple[str, ...]:
        """The next ones to look up; those of `is_here` are known to live. One read is under way at a time."""
        if self.asked:
            return ()
        parents: dict[str, None] = {}
        while self._asking and len(parents) < ASKED_AT_ONCE:
            barrier = self.waiting.get(self._asking[0])
            parent = _next_question(barrier) if barrier is not None else None
            if barrier is None or parent is None:
                self._finish_asking(barrier)
            elif parent not in is_here:
                parents[parent] = None
                barrier.unanswered += 1
                self.asked.append((parent, barrier.task_id))
        return tuple(parents)

    def _finish_asking(self, barrier: Barrier | None) -> None:
        self._asking.popleft()
        if barrier is not None:
            barrier.is_queued = False
            self.to_look_at[barrier.task_id] = None

    def answered(self, states: dict[str, str]) -> None:
        """What was found: a terminal state, anything else for what lives, nothing for what nobody knows."""
        asked, self.asked = self.asked, []
        for parent, child in asked:
            barrier = self.waiting.get(child)
            if barrier is None or not barrier.unanswered:
                continue
            barrier.unanswered -= 1
            if not states.get(parent):
                barrier.unknown = barrier.unknown or parent
            self.to_look_at[child] = None


def _next_question(barrier: Barrier | None) -> str | None:
    if barrier is None:
        return None
    if barrier.unasked:
        return barrier.unasked.popleft()
    number = barrier.open_members.find(1, barrier.cursor)
    if number < 0:
        barrier.cursor = len(barrier.open_members)
        return None
    barrier.cursor = number + 1
    return member_id(barrier.waits.group, number)


def _leave(index: dict[str, dict[str, None]], key: str, task_id: str) -> None:
    waiting = index.get(key)
    if waiting is not None:
        waiting.pop(task_id, None)
        if not waiting:
            del index[key]
