"""Rows by key that many viewers follow: each is told what changed since the frame it has, and no more.

Pure. Nothing is queued for a viewer: one that reads slowly is simply given a larger step next time,
in which the last value of each key wins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_GONE = 2_000


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between two frames of a topic."""

    rows: dict[str, Any]
    gone: list[str]


class KeyedTopic:
    """The present rows, the frame in which each last changed, and which rows went lately."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.frame = 0
        """Frame of the last change."""
        self._changed: dict[str, int] = {}
        self._gone: deque[tuple[int, str]] = deque()
        self._complete_from = 0

    def update(self, wanted: Mapping[str, Any], frame: int) -> bool:
        """Make the rows equal to `wanted`; true when that changed anything."""
        changed = [key for key, row in wanted.items() if self.rows.get(key) is not row]
        changed = [key for key in changed if key not in self.rows or self.rows[key] != wanted[key]]
        gone = [key for key in self.rows if key not in wanted]
        if not changed and not gone:
            return False
        for key in changed:
            self.rows[key], self._changed[key] = wanted[key], frame
        for key in gone:
            del self.rows[key], self._changed[key]
            self._gone.append((frame, key))
        while len(self._gone) > MOST_GONE:
            self._complete_from = self._gone.popleft()[0]
        self.frame = frame
        return True

    def since(self, frame: int) -> Change | None:
        """What changed after `frame`; None when that is no longer known, and a snapshot is needed."""
        if frame < self._complete_from or frame > self.frame:
            return None
        rows = {key: self.rows[key] for key, at in self._changed.items() if at > frame}
        gone = {key for at, key in self._gone if at > frame and key not in self.rows}
        return Change(rows, sorted(gone))
