"""Streamed text arrives whole, in order and once, whatever steps a viewer takes and whoever else writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from outrider.broker.messages import Chunk, ChunkType, TaskEnvelope
from outrider.ui.rows import waiting_object
from outrider.ui.sse import event_id, parse_event_id
from outrider.ui.watch import MOST_CHARS, MOST_IGNORED, Position, Watch
from tests.unit.ui.stories import Ledger


def loaded(ledger: Ledger) -> Watch:
    watch = Watch("t1")
    watch.load([ledger.assigned("t1", "a1")], None)
    return watch


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans()), max_size=30))
def test_the_text_is_the_same_whatever_the_steps(pieces: list[tuple[str, bool]]) -> None:
    watch = loaded(Ledger())
    position, got = Position(), ""
    for offset, (text, looks) in enumerate(pieces):
        watch.chunk("a1", 1, Chunk(offset, data=text))
        if looks:
            step, position = watch.since(position)
            got += "".join(attempt["text"] for attempt in step["attempts"])
    step, position = watch.since(position)
    got += "".join(attempt["text"] for attempt in step["attempts"])
    assert got == "".join(text for text, _ in pieces)


def test_a_repeated_piece_is_shown_once() -> None:
    watch = loaded(Ledger())
    for offset in (0, 1, 1, 0, 2):
        watch.chunk("a1", 1, Chunk(offset, data=str(offset)))
    assert watch.attempts[0].text == "012"


def test_a_stranger_cannot_write_into_the_answer() -> None:
    watch = loaded(Ledger())
    watch.chunk("evil", 1, Chunk(0, data="lies"))
    watch.chunk("a1", 1, Chunk(0, data="truth"))
    step, _ = watch.since(Position())
    assert [attempt["text"] for attempt in step["attempts"]] == ["truth"]


def test_a_piece_that_comes_before_its_assignment_is_kept() -> None:
    ledger = Ledger()
    watch = Watch("t1")
    watch.load([], None)
    watch.chunk("a1", 1, Chunk(0, data="early"))
    assert watch.since(Position())[0]["attempts"] == []
    watch.entry(ledger.assigned("t1", "a1"))
    assert watch.since(Position())[0]["attempts"][0]["text"] == "early"


def test_a_retry_is_a_new_attempt_beside_the_old_text() -> None:
    ledger = Ledger()
    watch = loaded(ledger)
    watch.chunk("a1", 1, Chunk(0, data="half an ans"))
    watch.entry(ledger.lost("t1"))
    watch.entry(ledger.assigned("t1", "a2"))
    watch.chunk("a2", 2, Chunk(0, data="a whole answer"))
    step, _ = watch.since(Position())
    assert [(a["attempt"], a["agent"], a["text"]) for a in step["attempts"]] == [
        (1, "a1", "half an ans"),
        (2, "a2", "a whole answer"),
    ]
    assert [event["type"] for event in step["events"]] == ["assigned", "lost", "assigned"]


def test_entries_that_come_while_the_story_is_read_follow_it_once() -> None:
    ledger = Ledger()
    first, second = ledger.assigned("t1", "a1"), ledger.succeeded("t1")
    watch = Watch("t1")
    watch.entry(first)
    watch.entry(second)
    watch.load([first], None)
    assert [event["seq"] for event in watch.events] == [first.seq, second.seq]
    assert watch.is_terminal


def test_a_waiting_task_is_shown_with_its_payload_and_an_unknown_one_as_none() -> None:
    watch = Watch("t1")
    envelope = TaskEnvelope("echo", {"text": "hi"}, "t1")
    watch.load([], waiting_object(envelope, 10.0) | {"payload": envelope.payload})
    task = watch.task()
    assert task is not None
    assert (task["state"], task["payload"]) == ("queued", {"text": "hi"})
    unknown = Watch("t2")
    unknown.load([], None)
    assert unknown.task() is None


def test_chunks_and_progress_show_that_it_runs() -> None:
    watch = loaded(Ledger())
    watch.chunk("a1", 1, Chunk(0, ChunkType.PROGRESS, progress=0.5))
    task = watch.task()
    assert task is not None
    assert task["state"] == "running"
    assert watch.since(Position())[0]["attempts"][0]["progress"] == 0.5


def test_text_is_bounded_and_says_so() -> None:
    watch = loaded(Ledger())
    watch.chunk("a1", 1, Chunk(0, data="x" * (MOST_CHARS - 1)))
    watch.chunk("a1", 1, Chunk(1, data="yz"))
    attempt = watch.attempts[0]
    assert (attempt.length, attempt.is_cut) == (MOST_CHARS, True)


def test_a_position_survives_its_way_as_an_event_id() -> None:
    watch = loaded(Ledger())
    watch.chunk("a1", 1, Chunk(0, data="abc"))
    _, position = watch.since(Position())
    back = parse_event_id(event_id(position))
    assert (back.events, back.chars) == (1, {1: 3})
    assert parse_event_id("nonsense") == parse_event_id(None) == Position()


def test_whoever_writes_nonsense_without_end_does_not_fill_the_memory() -> None:
    ledger = Ledger()
    watch = loaded(ledger)
    for _ in range(MOST_IGNORED + 10):
        watch.entry(ledger.assigned("t1", "evil"))
    assert len(watch.events) <= MOST_IGNORED + 1
    assert watch.since(Position())[0]["task"]["agent"] == "a1"
