"""An estimate is about the same task that would be queued: what is known of both is the same."""

from typing import Any

import pytest

from outrider.broker.estimates import facts_when_queued
from outrider.broker.facts import facts_of
from outrider.client.new_task import NewTask, pack

CASES = [None, {"i": 1}, {"prompt": "x" * 5_000, "max_tokens": 64}, {"messages": [{"content": "hello"}]}]
A_FEW_BYTES = 24
"""Whatever else an envelope may say, as a deadline."""


@pytest.mark.parametrize("payload", CASES)
@pytest.mark.parametrize("more", [{}, {"deadline_s": 5.0}, {"requires": ("gpu",)}])
def test_what_is_estimated_has_the_sizes_of_what_is_queued(payload: Any, more: dict[str, Any]) -> None:
    packed = pack(NewTask("chat", payload, **more), 1_790_000_000.0)
    queued = facts_of(packed.envelope.payload, len(packed.data))
    expected = facts_when_queued("chat", payload, 5, more.get("requires", ()))
    assert abs(expected.payload_bytes - queued.payload_bytes) <= A_FEW_BYTES
    assert (expected.prompt_chars, expected.messages) == (queued.prompt_chars, queued.messages)
