"""Nothing in the core grows without bound, whoever sends what."""

from __future__ import annotations

from outrider.broker.subjects import LedgerAddress
from outrider.ledger.entries import Ended
from outrider.ledger.fold import MOST_NOTED, Story
from outrider.orchestrator import events
from outrider.orchestrator.agent_table import MOST_KINDS
from outrider.orchestrator.health import MOST_OWNERS
from tests.unit.orchestrator.drive import Drive


def test_notes_on_ignored_entries_are_the_newest_few() -> None:
    story = Story("t1")
    where = LedgerAddress("t1", "orchestrator", "liar")
    for seq in range(1, 1000):
        assert story.apply(seq, where, Ended("t1", 1, "a", 0, "lost")) is not None
    assert len(story.ignored) == MOST_NOTED
    assert story.ignored[-1].startswith("999: ")
    assert story.expect == 999


def test_orchestrators_that_are_gone_and_own_nothing_are_forgotten() -> None:
    drive = Drive()
    for n in range(2 * MOST_OWNERS):
        drive.feed(events.PulseHeard(f"o-{n}", stopping=True))
    drive.wait(10)
    assert len(drive.core.memory.owners) <= MOST_OWNERS
    drive.feed(events.PulseHeard("o-new", stopping=False))
    assert "o-new" in drive.core.memory.owners


def test_a_fleet_knows_only_so_many_kinds() -> None:
    drive = Drive()
    drive.join("a")
    for n in range(MOST_KINDS // 10 + 5):
        kinds = tuple(f"k{n}-{m}" for m in range(10))
        drive.feed(events.AgentJoined("b", "b-1", kinds, 1, (), (), "host"))
    assert len(drive.core.memory.agents.declared) == MOST_KINDS
    drive.run("t1")
    assert drive.assigned_to() == "a"
