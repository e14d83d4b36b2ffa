"""One task as server-sent events, for curl and scripts: the same steps that a page gets on the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from outrider.ui.hub import Hub, to_json
from outrider.ui.watch import Position, Watch
from outrider.ui.watches import Watches

KEEP_ALIVE_S = 15.0


def parse_event_id(text: str | None) -> Position:
    """The position that a Last-Event-ID names; anything else is the beginning."""
    events, _, rest = (text or "").partition(";")
    if not events.isdigit():
        return Position()
    pairs = (pair.partition(":") for pair in rest.split(",") if pair)
    chars = {int(a): int(n) for a, _, n in pairs if a.isdigit() and n.isdigit()}
    return Position(events=int(events), chars=chars, is_some=True)


def event_id(position: Position) -> str:
    """A position as one line: `events;attempt:characters,...`."""
    return f"{position.events};" + ",".join(f"{a}:{n}" for a, n in sorted(position.chars.items()))


async def loaded(watch: Watch, hub: Hub) -> None:
    """Wait until the watch has read what was stored before it."""
    moved = asyncio.Event()
    hub.viewers.add(moved.set)
    try:
        while not watch.is_loaded:
            await moved.wait()
            moved.clear()
    finally:
        hub.viewers.discard(moved.set)


async def events(watch: Watch, watches: Watches, hub: Hub, had: Position) -> AsyncIterator[str]:
    """The events of an opened watch until the task is over; closes the watch."""
    moved = asyncio.Event()
    hub.viewers.add(moved.set)
    try:
        while True:
            if had.version != watch.version:
                step, had = watch.since(had)
                yield f"id: {event_id(had)}\nevent: step\ndata: {to_json(step)}\n\n"
            if watch.is_terminal:
                yield f"event: end\ndata: {to_json({'task_id': watch.task_id})}\n\n"
                return
            try:
                await asyncio.wait_for(moved.wait(), KEEP_ALIVE_S)
            except TimeoutError:
                yield ": still here\n\n"
            moved.clear()
    finally:
        hub.viewers.discard(moved.set)
        watches.close(watch.task_id)
