"""The frames that all viewers share: topics taken from the projection ten times a second, encoded once.

Knows neither sockets nor NATS: it is ticked by the feeds and read by the viewers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from outrider.ui.projection import Projection
from outrider.ui.rates import HISTORY_S
from outrider.ui.topics import KeyedTopic

FRAMES_PER_S = 10
AGENTS, TASKS, STATS = "agents", "tasks", "stats"
NOW = "now"


def to_json(message: dict[str, Any]) -> str:
    """The text of one message."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=_as_text)


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Hub:
    """Topics, the frame number, and who wants to know that it moved."""

    def __init__(self, projection: Projection, epoch: str) -> None:
        self.projection = projection
        self.epoch = epoch
        """Positions of one epoch mean nothing in another: a restarted bridge counts anew."""
        self.frame = 0
        self.is_linked = True
        """Whether NATS is connected."""
        self.link_since = 0.0
        self.frames_sent = 0
        self.resyncs = 0
        self.viewers: set[Callable[[], None]] = set()
        self._topics = {AGENTS: KeyedTopic(), TASKS: KeyedTopic(), STATS: KeyedTopic()}
        self._stats: dict[str, Any] = {}
        self._encoded: dict[tuple[str, int | None], str] = {}

    def has(self, topic: str) -> bool:
        return topic in self._topics

    def tick(self) -> None:
        """Take the projection's present rows; wakes the viewers when they differ."""
        frame = self.frame + 1
        wanted = {
            AGENTS: self.projection.roster.rows,
            TASKS: self.projection.window(),
            STATS: self._stats,
        }
        changed = [self._topics[name].update(rows, frame) for name, rows in wanted.items()]
        if any(changed):
            self.frame = frame
            self._encoded.clear()
            self.wake()

    def second(self, now: float) -> None:
        """Once a second: a new point for the charts and fresh numbers."""
        point = self.projection.rates.point(now) | {"waiting": self.projection.waiting}
        kept = {k: row for k, row in self._stats.items() if k != NOW and int(k) > int(now) - HISTORY_S}
        self._stats = kept | {str(point["at"]): point, NOW: self.projection.stats(now)}

    def backfill(self, now: float) -> None:
        """Points for the time before the bridge ran, as far as the ledger tells."""
        points = [self.projection.rates.point(now - back) for back in range(HISTORY_S, 1, -5)]
        self._stats = {str(point["at"]): point | {"waiting": None} for point in points}

    def link(self, is_up: bool, now: float) -> None:
        """NATS was lost or is back."""
        if is_up != self.is_linked:
            self.is_linked, self.link_since = is_up, now
            self.wake()

    def wake(self) -> None:
        """Let every viewer look what is new for it; never waits for any of them."""
        for wake in list(self.viewers):
            wake()

    def message(self, topic: str, position: int | None) -> tuple[str | None, int]:
        """What brings a viewer of `topic` from its position (None: it has nothing) to the present frame."""
        rows = self._topics[topic]
        if position is not None and rows.frame <= position <= self.frame:
            return None, position
        key = (topic, position)
        if key not in self._encoded:
            self._encoded[key] = self._encode(topic, rows, position)
        return self._encoded[key], self.frame

    def _encode(self, topic: str, rows: KeyedTopic, position: int | None) -> str:
        change = rows.since(position) if position is not None else None
        if change is None:
            self.resyncs += position is not None
            return to_json({"op": "snapshot", "topic": topic, "seq": self.frame, "rows": rows.rows})
        return to_json(
            {
                "op": "delta",
                "topic": topic,
                "from": position,
                "seq": self.frame,
                "set": change.rows,
                "del": change.gone,
            }
        )
