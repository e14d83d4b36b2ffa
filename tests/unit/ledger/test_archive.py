"""Reading snapshots: trouble on the way is waited out, nonsense is not asked for twice."""

from __future__ import annotations

import pytest

from outrider.broker.errors import OutriderError, TimedOut
from outrider.ledger import archive
from outrider.ledger.archive import patiently
from outrider.ledger.snapshot import UnfitSnapshot


class Reading:
    """Something to read that fails some times first."""

    def __init__(self, *errors: OutriderError) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def read(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "found"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PAUSES_S", (0.0, 0.0))


async def test_silence_is_waited_out() -> None:
    reading = Reading(TimedOut("no answer"), TimedOut("no answer"))
    assert await patiently(reading.read) == "found"


async def test_nobody_waits_for_ever() -> None:
    reading = Reading(*(TimedOut("no answer") for _ in range(9)))
    with pytest.raises(TimedOut):
        await patiently(reading.read)
    assert reading.asked == 3


async def test_nonsense_is_not_asked_for_again() -> None:
    reading = Reading(UnfitSnapshot("torn"))
    with pytest.raises(UnfitSnapshot):
        await patiently(reading.read)
    assert reading.asked == 1
