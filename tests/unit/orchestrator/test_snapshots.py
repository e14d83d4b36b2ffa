"""How much CPU the writer of snapshots asks for."""

from __future__ import annotations

from outrider.orchestrator.snapshots import niceness


def test_the_writer_is_modest_and_asks_for_more_the_further_it_is_behind() -> None:
    asked = [niceness(behind) for behind in range(1, 30)]
    assert asked[0] == 19
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] == 0
