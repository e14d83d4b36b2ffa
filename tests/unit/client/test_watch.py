"""A watch believes live entries only as far as the ledger's rules allow."""

from __future__ import annotations

import asyncio

import pytest

from outrider.broker.codec import encode
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import TaskState
from outrider.client.watching import Watch
from outrider.ledger.entries import Assigned
from outrider.ledger.fold import Story

ASSIGNED = encode(Assigned("t", 1, "a-1", "i", 0, "chat", 5, RouteReason.MODEL))
BY_ORCHESTRATOR, BY_AGENT = "f.live.t.orchestrator.o-1", "f.live.t.agent.a-1"


def succeeded(epoch: int, agent_id: str = "a-1") -> bytes:
    return encode(Succeeded("t", 1, agent_id, epoch, "result"))


@pytest.fixture
def watch() -> Watch:
    return Watch("t", 0.0)


def test_entries_in_order_end_the_task(watch: Watch) -> None:
    assert watch.take(5, BY_ORCHESTRATOR, ASSIGNED, 1.0)
    assert watch.take(9, BY_AGENT, succeeded(5), 2.0)
    assert watch.is_over
    assert watch.story.view().result == "result"


def test_an_entry_heard_twice_counts_once(watch: Watch) -> None:
    for _ in range(2):
        assert watch.take(5, BY_ORCHESTRATOR, ASSIGNED, 1.0)
    assert watch.story.ignored == []


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        (BY_AGENT, succeeded(5)),
        (BY_AGENT, b"\xc1"),
        ("f.live.t.agent.a-2", succeeded(5, "a-2")),
        ("f.live.t.nobody.a-2", succeeded(5)),
    ],
    ids=["before its assignment", "malformed", "of another agent", "of another role"],
)
def test_what_does_not_follow_is_left_to_the_ledger(watch: Watch, subject: str, body: bytes) -> None:
    assert not watch.take(9, subject, body, 1.0)
    assert not watch.is_over


def test_the_ledger_mends_what_was_missed_but_never_goes_back(watch: Watch) -> None:
    watch.take(5, BY_ORCHESTRATOR, ASSIGNED, 1.0)
    watch.replace(Story("t"))
    assert watch.story.state is TaskState.ASSIGNED
    watch.take(9, BY_AGENT, succeeded(4), 2.0)
    read = Watch("t", 0.0)
    read.take(5, BY_ORCHESTRATOR, ASSIGNED, 1.0)
    read.take(12, BY_AGENT, succeeded(5), 2.0)
    watch.replace(read.story)
    assert watch.is_over


async def test_everybody_who_waits_is_told(watch: Watch) -> None:
    waiters = [asyncio.get_running_loop().create_future() for _ in range(3)]
    watch.waiters += waiters
    watch.take(5, BY_ORCHESTRATOR, ASSIGNED, 1.0)
    assert not any(waiter.done() for waiter in waiters)
    watch.take(9, BY_AGENT, succeeded(5), 2.0)
    assert all(waiter.done() for waiter in waiters)
