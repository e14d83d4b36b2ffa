"""A viewer that is told what changed must end with the same rows as one that looks for the first time."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from outrider.ui.hub import AGENTS, Hub
from outrider.ui.projection import Projection
from outrider.ui.topics import MOST_GONE, KeyedTopic
from tests.unit.ui.stories import START, joined

rows = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)


@given(st.lists(rows, min_size=1, max_size=20), st.data())
def test_any_step_leads_to_the_same_rows(frames: list[dict[str, int]], data: st.DataObject) -> None:
    topic = KeyedTopic()
    viewer: dict[str, Any] = {}
    position = 0
    for number, wanted in enumerate(frames, 1):
        topic.update(wanted, number)
        if data.draw(st.booleans()):
            change = topic.since(position)
            assert change is not None
            viewer = {k: v for k, v in (viewer | change.rows).items() if k not in change.gone}
            position = topic.frame
            assert viewer == wanted


def test_only_what_changed_is_sent() -> None:
    topic = KeyedTopic()
    topic.update({"a": {"n": 1}, "b": {"n": 1}}, 1)
    assert topic.update({"a": {"n": 1}, "b": {"n": 1}}, 2) is False, "equal rows are no change"
    topic.update({"a": {"n": 2}, "b": {"n": 1}}, 3)
    change = topic.since(1)
    assert change is not None
    assert change.rows == {"a": {"n": 2}}


def test_a_viewer_away_for_too_long_gets_a_snapshot() -> None:
    topic = KeyedTopic()
    for number in range(1, MOST_GONE + 10):
        topic.update({str(number): 1}, number)
    assert topic.since(1) is None
    assert topic.since(topic.frame - 5) is not None


def test_a_position_from_the_future_gets_a_snapshot() -> None:
    topic = KeyedTopic()
    topic.update({"a": 1}, 1)
    assert topic.since(99) is None


def test_one_text_is_made_for_all_viewers_at_the_same_place() -> None:
    projection = Projection()
    hub = Hub(projection, "e")
    projection.member(1, joined("a1"), START)
    hub.tick()
    first, position = hub.message(AGENTS, None)
    again, _ = hub.message(AGENTS, None)
    assert first is again
    assert hub.message(AGENTS, position) == (None, position)
    projection.member(2, joined("a2"), START)
    hub.tick()
    delta, after = hub.message(AGENTS, position)
    assert after == position + 1
    assert delta is not None
    assert '"a2"' in delta
    assert '"a1"' not in delta


def test_a_place_that_this_hub_never_reached_gets_a_snapshot() -> None:
    projection = Projection()
    hub = Hub(projection, "e")
    projection.member(1, joined("a1"), START)
    hub.tick()
    text, position = hub.message(AGENTS, 1_000)
    assert text is not None
    assert '"op":"snapshot"' in text
    assert position == hub.frame


def test_nobody_is_woken_when_nothing_changed() -> None:
    hub = Hub(Projection(), "e")
    hub.tick()
    woken: list[bool] = []
    hub.viewers.add(lambda: woken.append(True))
    hub.tick()
    assert woken == []
