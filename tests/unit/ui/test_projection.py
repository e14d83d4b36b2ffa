"""What the pages show must follow the ledger, whatever comes late, twice or out of nowhere."""

from __future__ import annotations

from outrider.broker.messages import Heartbeat
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import AgentState
from outrider.broker.views import AgentList, AgentView
from outrider.ledger.entries import Hedged, Member
from outrider.ledger.fold import Record
from outrider.ui.projection import Projection, Queue
from tests.unit.ui.stories import START, Ledger, joined


def projected(*records: Record, most_finished: int = 100) -> Projection:
    projection = Projection(most_finished)
    for record in records:
        projection.entry(record)
    return projection


def test_a_task_is_shown_from_its_assignment_to_its_end() -> None:
    ledger, projection = Ledger(), Projection()
    projection.entry(ledger.assigned("t1", "a1"))
    live = projection.row("t1")
    assert live is not None
    assert (live["state"], live["agent"], live["attempts"], live["predicted_s"]) == ("assigned", "a1", 1, 2.0)
    projection.entry(ledger.succeeded("t1", service_s=1.5))
    over = projection.row("t1")
    assert over is not None
    assert (over["state"], over["service_s"], over["reason"]) == ("succeeded", 1.5, "model")
    assert over["sojourn_s"] == over["finished_at"] - over["submitted_at"]


def test_a_lost_attempt_leaves_its_agent_and_is_shown_on_the_next() -> None:
    ledger, projection = Ledger(), Projection()
    projection.member(0, joined("a1"), START)
    projection.member(0, joined("a2"), START)
    projection.entry(ledger.assigned("t1", "a1"))
    assert projection.roster.rows["a1"]["in_flight"] == 1
    projection.entry(ledger.lost("t1"))
    assert projection.roster.rows["a1"]["in_flight"] == 0
    between = projection.row("t1")
    assert between is not None
    assert between["state"] == "backing_off"
    assert between["error"] == {"code": "lost", "message": "agent is gone", "hint": ""}
    projection.entry(ledger.assigned("t1", "a2"))
    moved = projection.row("t1")
    assert moved is not None
    assert (moved["agent"], moved["attempts"]) == ("a2", 2)
    assert projection.roster.rows["a2"]["in_flight"] == 1


def test_two_attempts_at_once_count_on_both_agents_until_one_is_first() -> None:
    ledger, projection = Ledger(), Projection()
    for name in ("a1", "a2"):
        projection.member(0, joined(name), START)
    projection.entry(ledger.assigned("t1", "a1"))
    first = ledger.seq
    projection.runs("t1")
    hedged = Hedged("t1", 2, "a2", "i1", ledger.epoch("t1"), "echo", 5, RouteReason.MODEL)
    projection.entry(ledger.record("orchestrator", "o1", hedged))

    def in_flight() -> tuple[int, int]:
        rows = projection.roster.rows
        return rows["a1"]["in_flight"], rows["a2"]["in_flight"]

    row = projection.row("t1")
    assert row is not None
    assert (row["state"], row["attempts"], row["agent"], in_flight()) == ("running", 2, "a2", (1, 1))
    beat = Heartbeat("a1", "a1-1", AgentState.ONLINE, 1, running=(first, ledger.seq))
    assert projection.beat(beat, START) == []
    won = Succeeded("t1", 1, "a1", ledger.epoch("t1"), "done", 9.0)
    projection.entry(ledger.record("agent", "a1", won))
    row = projection.row("t1")
    assert row is not None
    assert (row["state"], row["attempts"], row["agent"], in_flight()) == ("succeeded", 2, "a1", (0, 0))
    assert projection.tally.hedged == 1


def test_what_comes_after_the_end_changes_nothing_and_is_counted() -> None:
    ledger = Ledger()
    records = [ledger.assigned("t1", "a1"), ledger.succeeded("t1")]
    projection = projected(*records)
    before = projection.row("t1")
    stale = Succeeded("t1", 1, "a1", records[0].seq, "another result")
    projection.entry(ledger.record("agent", "a1", stale))
    assert projection.row("t1") == before
    assert projection.tally.ignored == 1


def test_an_entry_of_a_stranger_makes_no_task() -> None:
    ledger = Ledger()
    projection = projected(ledger.record("agent", "evil", Succeeded("t9", 1, "evil", 0)))
    assert projection.row("t9") is None
    assert projection.tally.ignored == 1


def test_memory_is_bounded_by_the_newest_finished_tasks() -> None:
    ledger, projection = Ledger(), Projection(most_finished=3)
    for number in range(10):
        projection.entry(ledger.assigned(f"t{number}", "a1"))
        projection.entry(ledger.succeeded(f"t{number}"))
    assert sorted(projection.finished) == ["t7", "t8", "t9"]
    assert projection.live == {}


def test_payload_and_result_are_not_kept() -> None:
    ledger = Ledger()
    projection = projected(ledger.assigned("t1", "a1"))
    assert "big" not in repr(projection.live["t1"].story)
    projection.entry(ledger.succeeded("t1", result="a very long answer"))
    assert "a very long answer" not in repr(projection.finished)


def test_a_task_that_began_before_the_history_is_wanted_whole_and_then_shown() -> None:
    ledger = Ledger()
    story = [ledger.assigned("old", "a1"), ledger.failed("old"), ledger.assigned("old", "a2")]
    projection = projected(story[2])
    assert projection.row("old") is None
    assert list(projection.torn) == ["old"]
    projection.whole("old", story)
    row = projection.row("old")
    assert row is not None
    assert (row["state"], row["attempts"], row["agent"]) == ("assigned", 2, "a2")
    projection.entry(ledger.succeeded("old"))
    assert projection.finished["old"]["state"] == "succeeded"


def test_a_beat_says_which_tasks_run_and_names_the_unknown() -> None:
    ledger = Ledger()
    record = ledger.assigned("t1", "a1")
    projection = projected(ledger.assigned("t0", "a1"), record)
    beat = Heartbeat("a1", "i1", AgentState.ONLINE, 4, running=(record.seq, 1_000_000))
    assert projection.beat(beat, START) == []
    row = projection.row("t1")
    assert row is not None
    assert row["state"] == "running"
    projection.last_seq = 2_000_000
    assert projection.beat(beat, START) == [1_000_000]


def test_an_agent_is_seen_to_go_and_to_come_back() -> None:
    projection = Projection()
    projection.member(1, joined("a1", "chat", slots=4), START)
    projection.member(2, Member("a1", "suspect", why="three beats missed"), START + 45)
    assert projection.roster.rows["a1"]["state"] == "suspect"
    projection.member(3, Member("a1", "offline", why="silent for 60 s"), START + 60)
    gone = projection.roster.rows["a1"]
    assert (gone["state"], gone["why"], gone["since_at"]) == ("offline", "silent for 60 s", START + 60)
    projection.beat(Heartbeat("a1", "i1", AgentState.ONLINE, 4), START + 61)
    assert projection.roster.rows["a1"]["state"] == "offline", "the orchestrator decides, not the beat"
    projection.member(4, Member("a1", "back"), START + 62)
    assert projection.roster.rows["a1"]["state"] == "online"


def test_the_orchestrators_list_wins_and_forgets_who_is_long_gone() -> None:
    projection = Projection()
    projection.member(1, joined("a1"), START)
    projection.member(2, Member("old", "offline"), START)
    view = AgentView("a1", AgentState.COOLING_DOWN, ("echo",), 2, 0, 1.0, mean_s={"echo": 0.25})
    projection.agents(AgentList((view,), ("echo",)), START + 5000)
    assert list(projection.roster.rows) == ["a1"]
    assert projection.roster.rows["a1"]["state"] == "cooling_down"
    assert projection.roster.objects(START + 5000)[0]["mean_s"] == {"echo": 0.25}


def test_an_unchanged_agent_keeps_its_row() -> None:
    projection = Projection()
    view = AgentView("a1", AgentState.ONLINE, ("echo",), 2, 0, 1.0)
    projection.agents(AgentList((view,), ("echo",)), START)
    row = projection.roster.rows["a1"]
    projection.agents(AgentList((view,), ("echo",)), START + 0.2)
    assert projection.roster.rows["a1"] is row, "an unchanged row must not be sent again"


def test_the_numbers_of_now() -> None:
    ledger = Ledger()
    records = [
        ledger.assigned("t1", "a1"),
        ledger.succeeded("t1", service_s=3.0),
        ledger.assigned("t2", "a1"),
    ]
    projection = projected(*records)
    projection.member(9, joined("a1", slots=4), START)
    projection.queued((Queue("echo", 5, 7),), 7)
    stats = projection.stats(ledger.now + 1)
    assert (stats["waiting"], stats["in_flight"], stats["slots"]) == (7, 1, 4)
    assert stats["queues"] == [{"kind": "echo", "priority": 5, "waiting": 7}]
    assert stats["ratio_p50"] == 1.5
    assert stats["calibration"] == {"attempts": 1, "p50_coverage": 0.0, "p90_coverage": 1.0}
    assert stats["p50_s"] is not None


def test_the_window_holds_live_tasks_beside_newer_finished_ones() -> None:
    ledger = Ledger()
    projection = projected(ledger.assigned("slow", "a1"), most_finished=500)
    for number in range(300):
        projection.entry(ledger.assigned(f"t{number}", "a1"))
        projection.entry(ledger.succeeded(f"t{number}"))
    window = projection.window()
    assert "slow" in window
    assert "t299" in window
    assert len(window) == 101
