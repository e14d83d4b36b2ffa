"""The same key is the same task, however often and from wherever it is submitted."""

from __future__ import annotations

import asyncio

import pytest

from outrider.broker.config import NatsSettings
from outrider.client import Client, IdempotencyConflict, NewTask, PartlySubmitted
from tests.integration.client.counterpart import Counterpart


async def test_the_same_key_gives_the_same_task_while_it_waits(client: Client, fleet: Counterpart) -> None:
    first = await client.submit("chat", {"n": 1}, key="order-7")
    again = await client.submit("chat", {"n": 1}, key="order-7")
    assert first.task_id == again.task_id
    assert await fleet.waiting() == 1


async def test_the_same_key_gives_the_same_task_after_its_end(
    settings: NatsSettings, client: Client, fleet: Counterpart
) -> None:
    first = await client.submit("chat", {"n": 1}, key="order-7")
    await fleet.succeed(first.task_id, await fleet.take(first.task_id), "once")
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as other:
        again = await other.submit("chat", {"n": 1}, key="order-7")
        assert again.is_over
        assert await again.result(10) == "once"
    assert await fleet.waiting() == 0


async def test_two_clients_at_once_make_one_task(
    settings: NatsSettings, client: Client, fleet: Counterpart
) -> None:
    async with Client(settings=settings, fleet=fleet.subjects.fleet) as other:
        tasks = await asyncio.gather(*(c.submit("chat", {"n": 1}, key="k") for c in (client, other) * 5))
    assert len({task.task_id for task in tasks}) == 1
    assert await fleet.waiting() == 1


@pytest.mark.parametrize("is_assigned", [False, True])
@pytest.mark.parametrize(("kind", "payload"), [("chat", {"n": 2}), ("echo", {"n": 1})])
async def test_the_same_key_with_another_body_is_a_conflict(
    client: Client, fleet: Counterpart, kind: str, payload: dict[str, int], is_assigned: bool
) -> None:
    first = await client.submit("chat", {"n": 1}, key="order-7")
    if is_assigned:
        await fleet.take(first.task_id)
    with pytest.raises(IdempotencyConflict, match="order-7"):
        await client.submit(kind, payload, key="order-7")
    assert await fleet.waiting() == (0 if is_assigned else 1)


async def test_the_order_of_fields_and_tuples_make_no_other_body(client: Client) -> None:
    first = await client.submit("chat", {"a": 1, "b": (1, 2)}, key="k")
    again = await client.submit("chat", {"b": [1, 2], "a": 1}, key="k")
    assert first.task_id == again.task_id


async def test_many_with_keys_are_submitted_once_and_conflicts_named(
    client: Client, fleet: Counterpart
) -> None:
    await client.submit("echo", 0, key="k-0")
    tasks = await client.submit_many([NewTask("echo", n, key=f"k-{n}") for n in range(20)])
    assert len({task.task_id for task in tasks}) == 20
    assert await fleet.waiting() == 20
    with pytest.raises(PartlySubmitted, match="1 of 2") as raised:
        await client.submit_many([NewTask("echo", 99, key="k-0"), NewTask("echo", 1, key="new")])
    assert [task is None for task in raised.value.tasks] == [True, False]
    assert isinstance(raised.value.errors[0], IdempotencyConflict)
