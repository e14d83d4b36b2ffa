"""What was spent within the last so many seconds, in a bounded number of cells.

Pure. An amount leaves only once its whole cell is older than the period, so the sum over any period
of that length is never more than was granted; it is at most a 64th of the period late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import floor

CELLS = 64


@dataclass(slots=True)
class _Cell:
    index: int
    amount: float


@dataclass(slots=True)
class Window:
    """Amounts by the time they were spent, on the orchestrator's monotonic clock."""

    period_s: float
    _cells: deque[_Cell] = field(default_factory=deque)
    _sum: float = 0.0

    @property
    def _cell_s(self) -> float:
        return self.period_s / CELLS

    def spent(self, now: float) -> float:
        """What was spent within the period that ends now."""
        cells, oldest = self._cells, floor((now - self.period_s) / self._cell_s)
        while cells and cells[0].index < oldest:
            self._sum -= cells.popleft().amount
        if not cells:
            self._sum = 0.0
        return self._sum

    def spend(self, at: float, amount: float) -> None:
        """Something was spent; what is told out of order counts as the newest, and so a little longer."""
        index = floor(at / self._cell_s)
        self._sum += amount
        if self._cells and self._cells[-1].index >= index:
            self._cells[-1].amount += amount
        else:
            self._cells.append(_Cell(index, amount))

    def correct(self, at: float, difference: float) -> None:
        """What was spent at that time turned out to be more or less; nothing happens when it is long ago."""
        index = floor(at / self._cell_s)
        for cell in self._cells:
            if cell.index >= index:
                change = max(-cell.amount, difference)
                cell.amount += change
                self._sum += change
                return
