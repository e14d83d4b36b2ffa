"""Which entries of the ledger still matter, by sort: of tasks, of agents, of people's orders.

Pure. Everything is bounded: by the open tasks, and else by the numbers below; the oldest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from outrider.broker.codec import dump, load
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Stored
from outrider.broker.outcomes import Succeeded
from outrider.broker.subjects import parse_ledger
from outrider.ledger.entries import Closed, decode_member, entry_from_map
from outrider.ledger.fold import Story

MOST_STOPPED = 1_000
"""Ended tasks whose last attempt was stopped: its agent may not have heard yet."""
MOST_KNOWN = 2_000
"""Pairs of agent and kind whose newest success is kept: how long it took."""
MOST_AGENTS = 20_000
MOST_IGNORED_BYTES = 4096
"""Longer entries that do not count are kept without their body."""
MOST_ORDERS = 10_000


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

    rules = "1"

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._stopped: OrderedDict[str, list[Stored]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], list[Stored]] = OrderedDict()

    def fold(self, stored: Stored) -> None:
        try:
            task_id = parse_ledger(stored.subject).task_id
        except OutriderError:
            return
        body = _body(stored.data)
        light = _light(stored, body)
        task = self._open.get(task_id)
        if task is None:
            task = _Open(Story(task_id), [])
            if task.fold(light, body) is None and not task.story.is_terminal:
                self._open[task_id] = task
            return
        was_live = task.story.is_live
        if task.fold(light, body) is None and task.story.is_terminal:
            del self._open[task_id]
            self._ended(task, was_live=was_live)

    def _ended(self, task: _Open, *, was_live: bool) -> None:
        last, assigned = task.story.last, task.story.assigned
        if isinstance(last, Closed) and was_live:
            _put(self._stopped, task.story.task_id, task.kept, MOST_STOPPED)
        elif isinstance(last, Succeeded) and assigned is not None:
            _put(self._known, (last.agent_id, assigned.kind), task.kept, MOST_KNOWN)

    def kept(self) -> list[Stored]:
        lists = [task.kept for task in self._open.values()]
        lists += [*self._stopped.values(), *self._known.values()]
        return sorted((stored for kept in lists for stored in kept), key=lambda stored: stored.seq)

    def counts(self) -> dict[str, int]:
        live = sum(task.story.is_live for task in self._open.values())
        return {"open_tasks": len(self._open), "live_attempts": live}


class Members:
    """Of each agent the newest time it joined, and the newest entry."""

    rules = "1"

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
    """People's orders, the newest of them."""

    rules = "1"

    def __init__(self) -> None:
        self._orders: OrderedDict[int, Stored] = OrderedDict()

    def fold(self, stored: Stored) -> None:
        _put(self._orders, stored.seq, replace(stored, pending=0), MOST_ORDERS)

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
