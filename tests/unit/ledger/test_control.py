"""Pauses are a fold that does not depend on order; ids of operators' decisions are names."""

from __future__ import annotations

import itertools

import pytest

from outrider.broker.codec import dump, encode
from outrider.broker.errors import DecodeError
from outrider.broker.subjects import check_name
from outrider.ledger.control import Control, decode_control, pause_control_id, requeued_id
from outrider.ledger.pauses import Pauses

WORDS = (
    (1, Control("paused", "chat")),
    (2, Control("paused", "echo")),
    (3, Control("paused")),
    (4, Control("resumed")),
    (5, Control("paused", "echo")),
)


def test_the_newest_word_counts_in_whatever_order_words_arrive() -> None:
    for order in itertools.permutations(WORDS):
        pauses = Pauses()
        for seq, control in order:
            pauses.apply(seq, control)
        assert (pauses.is_fleet_paused, pauses.paused_kinds) == (False, ("echo",))
        assert [pauses.covers(kind) for kind in ("chat", "echo", "sleep")] == [False, True, False]


def test_a_paused_fleet_covers_every_kind() -> None:
    pauses = Pauses()
    pauses.apply(1, Control("paused"))
    assert pauses.covers("whatever")
    pauses.apply(2, Control("resumed", "whatever"))
    assert pauses.covers("whatever"), "the fleet is still paused"


def test_where_decisions_stand_is_a_name_for_every_kind() -> None:
    kinds = ("", "chat", "k" * 58, "k" * 59, "k" * 64)
    found = {check_name(pause_control_id(kind), "id") for kind in kinds}
    assert len(found) == len(kinds)
    assert check_name(requeued_id("t" * 64, 10**15), "task_id")


def test_an_unknown_type_is_no_decision() -> None:
    assert decode_control(encode(Control("discarded", dead_seq=3))).dead_seq == 3
    with pytest.raises(DecodeError, match="not known here"):
        decode_control(dump({"type": "audit"}))
