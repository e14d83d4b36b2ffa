"""Background tasks: none outlives its block, and one that dies is heard."""

from __future__ import annotations

import asyncio

import pytest

from outrider.broker.background import Background


async def forever() -> None:
    await asyncio.Event().wait()


async def stubborn() -> None:
    """Swallows its first cancellation, as nats-py's flush may."""
    try:
        await forever()
    except asyncio.CancelledError:
        await forever()


async def failing() -> None:
    raise ValueError("it broke")


async def test_the_block_waits_for_what_it_spawned() -> None:
    done = []

    async def work() -> None:
        done.append(1)

    async with Background() as background:
        background.spawn(work())
        assert not done
    assert done == [1]


async def test_a_task_that_dies_ends_the_block_with_its_error_and_takes_the_others_along() -> None:
    others: list[asyncio.Task[None]] = []

    async def block() -> None:
        async with Background() as background:
            others.append(background.spawn(stubborn()))
            background.spawn(failing())
            await forever()

    with pytest.raises(ValueError, match="it broke"):
        await block()
    assert others[0].done()
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0


async def test_an_error_of_the_block_ends_the_tasks_and_stays_itself() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def block() -> None:
        async with Background() as background:
            tasks.append(background.spawn(stubborn()))
            raise KeyError

    with pytest.raises(KeyError):
        await block()
    assert tasks[0].cancelled()


async def test_cancelling_the_block_ends_even_stubborn_tasks() -> None:
    inner: list[asyncio.Task[None]] = []
    running = asyncio.Event()

    async def block() -> None:
        async with Background() as background:
            inner.append(background.spawn(stubborn()))
            running.set()
            await forever()

    outer = asyncio.create_task(block())
    await running.wait()
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(outer, 20)
    assert inner[0].done()


async def test_end_lets_the_block_leave() -> None:
    async with Background() as background:
        background.spawn(stubborn())
        await background.end()
