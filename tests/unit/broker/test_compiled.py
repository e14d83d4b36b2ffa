"""The compiled way and the careful way give the same messages, and the same errors."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.broker.codec import encode, load
from outrider.broker.compiled import Unsure, builder
from outrider.broker.errors import DecodeError
from outrider.broker.facts import TaskFacts
from outrider.broker.messages import AttemptError, Heartbeat, Join, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import (
    Candidate,
    Choice,
    RouteAgent,
    RouteAnswer,
    RouteReason,
    RouteRequest,
    RouteTask,
)
from outrider.broker.schema import _with_care, from_map, to_map
from outrider.broker.states import AgentState, ErrorClass
from outrider.ledger.entries import Assigned

CANDIDATE = Candidate("a", 0.1, 0.2, 0.3, 0.3)
FACTS = TaskFacts(1, 2, 3, 4, 0.5)
MESSAGES: list[Any] = [
    TaskEnvelope("chat", {"prompt": "hi"}, "t1", 3, 12.5, 3.0, 2, ("gpu",)),
    TaskEnvelope("chat", None, "t1"),
    Succeeded("t1", 1, "a", 7, {"x": [1]}, 0.5),
    Failed("t1", 1, "a", 7, AttemptError(ErrorClass.TIMEOUT, "late", True, 2.5)),
    Assigned("t1", 1, "a", "i", 0, "chat", 5, RouteReason.MODEL, "m", 0.1, 0.2, 0.3, (CANDIDATE,), FACTS),
    RouteAnswer((Choice("t1", "a", 0.1, 0.2, 0.3, RouteReason.COLD, (CANDIDATE, CANDIDATE)),), "m"),
    RouteRequest(
        (RouteTask("t1", "chat", 5, 1, FACTS, (0,), 4.5),), (RouteAgent("a", 2, 1, {"chat": 0.5}, ()),)
    ),
    Join("a", "i", ("chat",), 2),
    Heartbeat("a", "i", AgentState.ONLINE, 2, (1, 2), (), load={"cpu": 0.5}),
]
NAMES = [type(message).__name__ for message in MESSAGES]


@pytest.mark.parametrize("message", MESSAGES, ids=NAMES)
def test_a_message_comes_back_as_it_was(message: Any) -> None:
    assert from_map(type(message), to_map(message)) == message
    assert _with_care(type(message), to_map(message), "") == message


@pytest.mark.parametrize("message", MESSAGES, ids=NAMES)
def test_what_is_plainly_right_needs_no_care(message: Any) -> None:
    build = builder(cast(Hashable, type(message)))
    assert build(load(encode(message))) == message


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3), st.just([]), st.just({})
)


@given(st.sampled_from(MESSAGES), st.data())
def test_both_ways_agree_on_what_is_odd(message: Any, data: st.DataObject) -> None:
    plain = load(encode(message))
    name = data.draw(st.sampled_from(sorted(plain)))
    if data.draw(st.booleans()):
        plain[name] = data.draw(ODD)
    else:
        del plain[name]
    assert _told(from_map, type(message), plain) == _told(
        lambda k, v: _with_care(k, v, ""), type(message), plain
    )


def _told(way: Any, kind: type, plain: dict[str, Any]) -> str:
    try:
        return repr(way(kind, plain))
    except DecodeError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_what_is_no_map_is_refused(value: Any) -> None:
    with pytest.raises(Unsure):
        builder(TaskEnvelope)(value)
    with pytest.raises(DecodeError, match="TaskEnvelope: wanted a map"):
        from_map(TaskEnvelope, value)
