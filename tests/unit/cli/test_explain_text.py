"""What `outrider router explain` prints of an attempt."""

from typing import Any

from outrider.cli.router_commands import _attempt_text

CANDIDATE = {"agent": "fast", "waiting_s": 0.5, "p50_s": 1.0, "p90_s": 2.0, "finish_s": 1.5}


def attempt(**more: Any) -> dict[str, Any]:
    known = {"attempt": 1, "agent": "fast", "reason": "model", "model": "m7", "candidates": [CANDIDATE]}
    return known | more


def test_the_reason_is_told_in_words_and_the_chosen_one_is_marked() -> None:
    head, _, row = _attempt_text(attempt()).splitlines()
    assert head == "attempt 1 to fast: model (lowest expected mean), by m7"
    assert row.startswith("> fast")


def test_who_was_no_candidate_is_told_with_the_reason() -> None:
    out = [{"agent": "busy", "why": "full"}, {"agent": "ill", "why": "cooling_down"}]
    text = _attempt_text(attempt(passed_over=out, passed_over_count=4))
    assert text.splitlines()[-1] == "  no candidates: busy (full), ill (cooling down) and 2 more"
    assert _attempt_text(attempt(passed_over=out, passed_over_count=2)).endswith("ill (cooling down)")


def test_dice_are_called_dice() -> None:
    assert _attempt_text(attempt(reason="explore", model="random")).startswith(
        "attempt 1 to fast: explore (by dice)"
    )


def test_the_built_in_rule_needs_no_table() -> None:
    text = _attempt_text(attempt(reason="fallback_timeout", model="", candidates=[]))
    assert text == "attempt 1 to fast: fallback_timeout, by rule"
