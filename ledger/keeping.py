"""Which entries of the ledger still matter, by sort: of tasks, of agents, of people's orders.

Pure. Everything is bounded: by the open tasks, and else by the numbers below; the oldest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from outrider.broker.codec import dump, load
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Stored
from outrider.broker.outcomes import Succeeded
from outrider.broker.subjects import parse_ledger
from outrider.ledger.control import LETTER_TYPES, decode_control
from outrider.ledger.entries import Closed, decode_member, entry_from_map
from outrider.ledger.fold import Story

MOST_STOPPED = 1_000
"""Ended tasks of which an attempt was stopped: its agent may not have heard yet."""
MOST_KNOWN = 2_000
"""Pairs of agent and kind whose newest success is kept: how long it took."""
MOST_AGENTS = 20_000
MOST_IGNORED_BYTES = 4096
"""Longer entries that do not count are kept without their body."""
MOST_ORDERS = 10_000
MOST_DEAD = 5_000
"""Dead letters whose whole story is kept."""
MOST_LETTERS = 45_000
"""Older dead letters, of which only the last entry is kept."""


@dataclass(slots=True)
class _Open:
    """A task that has not ended."""

    story: Story
    kept: list[Stored]

    def fold(self, stored: Stored, body: Any) -> str | None:
        """As Story.apply. Of entries that do not count the newest is kept: the next append must expect it."""
        where = parse_ledger(stored.subject)
        was_ignored = bool(self.story.ignored)
        del self.story.ignored[:-1]
        try:
            entry = entry_from_map(body)
            why = self.story.apply(stored.seq, where, entry, stored.stored_at)
        except OutriderError as error:
            why = error.message
            self.story.skip(stored.seq, why)
        if was_ignored:
            self.kept.pop()
        if why is None:
            self.story.ignored = []
        elif len(stored.data) > MOST_IGNORED_BYTES:
            stored = replace(stored, data=b"")
        self.kept.append(stored)
        return why


class Stories:
    """Every entry of the tasks that have not ended, and few of those that have."""

    rules = "2"
    tokens = frozenset({"ledger", "control"})

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._stopped: OrderedDict[str, list[Stored]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], list[Stored]] = OrderedDict()
        self._dead: OrderedDict[int, list[Stored]] = OrderedDict()
        self._letters: OrderedDict[int, list[Stored]] = OrderedDict()

    def fold(self, stored: Stored) -> None:
        if stored.subject.split(".", 2)[1] == "control":
            self._deal(stored)
        else:
            self._fold(stored)

    def _deal(self, stored: Stored) -> None:
        """A dead letter that is requeued or discarded is not listed any more."""
        with suppress(OutriderError):
            control = decode_control(stored.data)
            if control.type in LETTER_TYPES:
                self._dead.pop(control.dead_seq, None)
                self._letters.pop(control.dead_seq, None)

    def _fold(self, stored: Stored) -> None:
        try:
            task_id = parse_ledger(stored.subject).task_id
        except OutriderError:
            return
        body = _body(stored.data)
        light = _light(stored, body)
        task = self._open.get(task_id)
        if task is None:
            self._begin(_Open(Story(task_id), []), light, body)
            return
        was_live = task.story.is_live
        if task.fold(light, body) is None and task.story.is_terminal:
            del self._open[task_id]
            self._ended(task, was_live=was_live)

    def _begin(self, task: _Open, stored: Stored, body: Any) -> None:
        """The first entry of a task, or one that comes after its end, or after those that were let go."""
        if task.fold(stored, body) is not None:
            if isinstance(body, dict) and body.get("type") == "dead" and ".orchestrator." in stored.subject:
                _put(self._letters, stored.seq, [stored], MOST_LETTERS)
        elif task.story.is_terminal:
            self._ended(task, was_live=False)
        else:
            self._open[task.story.task_id] = task

    def _ended(self, task: _Open, *, was_live: bool) -> None:
        last, assigned = task.story.last, task.story.assigned
        if isinstance(last, Closed) and last.type == "dead":
            self._died(task)
        elif was_live and (isinstance(last, Closed) or task.story.pair is not None):
            _put(self._stopped, task.story.task_id, task.kept, MOST_STOPPED)
        elif isinstance(last, Succeeded) and assigned is not None:
            _put(self._known, (last.agent_id, assigned.kind), task.kept, MOST_KNOWN)

    def _died(self, task: _Open) -> None:
        self._dead[task.story.epoch] = task.kept
        if len(self._dead) > MOST_DEAD:
            seq, kept = self._dead.popitem(last=False)
            _put(self._letters, seq, kept[-1:], MOST_LETTERS)

    def kept(self) -> list[Stored]:
        lists = [task.kept for task in self._open.values()]
        for table in (self._stopped, self._known, self._dead, self._letters):
            lists += table.values()
        return sorted((stored for kept in lists for stored in kept), key=lambda stored: stored.seq)

    def counts(self) -> dict[str, int]:
        live = sum(task.story.is_live for task in self._open.values())
        letters = len(self._dead) + len(self._letters)
        return {"open_tasks": len(self._open), "live_attempts": live, "dead_letters": letters}


class Members:
    """Of each agent the newest time it joined, and the newest entry."""

    rules = "1"
    tokens = frozenset({"member"})

    def __init__(self) -> None:
        self._agents: OrderedDict[str, list[Stored]] = OrderedDict()

    def fold(self, stored: Stored) -> None:
        try:
            member = decode_member(stored.data)
        except OutriderError:
            return
        stored = replace(stored, pending=0)
        joined = self._agents.get(member.agent_id, [])[:1]
        is_join = member.type == "joined" or not joined
        _put(self._agents, member.agent_id, [stored] if is_join else [*joined, stored], MOST_AGENTS)

    def kept(self) -> list[Stored]:
        return sorted((s for kept in self._agents.values() for s in kept), key=lambda stored: stored.seq)

    def counts(self) -> dict[str, int]:
        return {"agents": len(self._agents)}


class Controls:
    """Operators' decisions: the newest of each subject, but for what became of dead letters."""

    rules = "1"
    tokens = frozenset({"control"})

    def __init__(self) -> None:
        self._orders: OrderedDict[str, Stored] = OrderedDict()

    def fold(self, stored: Stored) -> None:
        body = _body(stored.data)
        if isinstance(body, dict) and body.get("type") not in LETTER_TYPES:
            _put(self._orders, stored.subject, replace(stored, pending=0), MOST_ORDERS)

    def kept(self) -> Iterable[Stored]:
        return self._orders.values()

    def counts(self) -> dict[str, int]:
        return {"orders": len(self._orders)}


def _put(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)


def _body(data: bytes) -> Any:
    try:
        return load(data)
    except OutriderError:
        return None


def _light(stored: Stored, body: Any) -> Stored:
    """The entry without what nobody who decides ever reads: the payload and the result."""
    if not isinstance(body, dict):
        return replace(stored, pending=0)
    envelope = body.get("envelope")
    is_heavy = body.pop("result", None) is not None
    if isinstance(envelope, dict):
        is_heavy = envelope.pop("payload", None) is not None or is_heavy
    return replace(stored, pending=0, data=dump(body) if is_heavy else stored.data)
