"""Partial output reaches its reader from the start, in order, once, and only from the attempt that counts."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.client import Client, SyncClient, Task
from tests.integration.client.counterpart import Counterpart
from tests.support.waiting import eventually


async def pieces_of(task: Task) -> list[Any]:
    return [piece async for piece in task.stream()]


async def test_pieces_arrive_while_the_task_runs(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    await fleet.emit(task.task_id, 1, 0, "a")
    got = []
    async for piece in task.stream():
        got.append(piece)
        if len(got) < 3:
            await fleet.emit(task.task_id, 1, len(got), "abc"[len(got)])
        elif len(got) == 3:
            await fleet.succeed(task.task_id, epoch, "abc")
    assert got == ["a", "b", "c"]
    assert await task.result(1) == "abc"


async def test_a_late_reader_gets_all_from_the_start(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    for n in range(5):
        await fleet.emit(task.task_id, 1, n, str(n))
    await fleet.succeed(task.task_id, epoch, None)
    assert await pieces_of(await client.task(task.task_id)) == list("01234")


async def test_a_task_without_output_streams_nothing_and_ends(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    streaming = asyncio.create_task(pieces_of(task))
    await fleet.close(task.task_id, "cancelled", "not needed")
    assert await streaming == []


async def test_repeated_pieces_and_those_of_others_are_passed_over(
    client: Client, fleet: Counterpart
) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    await fleet.emit(task.task_id, 1, 0, "a")
    await fleet.emit(task.task_id, 1, 0, "a")
    await fleet.emit(task.task_id, 1, 1, "forged", agent_id="a-2")
    await fleet.emit(task.task_id, 2, 0, "forged")
    await fleet.emit(task.task_id, 1, 1, "b")
    await fleet.succeed(task.task_id, epoch, None)
    assert await pieces_of(task) == ["a", "b"]


async def test_a_retry_starts_over_and_says_so(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    await fleet.emit(task.task_id, 1, 0, "lost")
    got = []
    async for piece in task.chunks():
        got.append((piece.attempt, piece.offset, piece.data))
        if len(got) == 1:
            epoch = await fleet.lose(task.task_id, epoch)
            epoch = await fleet.assign(task.task_id, "a-2", 2, epoch)
            await fleet.emit(task.task_id, 2, 0, "kept", "a-2")
            await fleet.succeed(task.task_id, epoch, None, "a-2", 2)
    assert got == [(1, 0, "lost"), (2, 0, "kept")]
    assert await pieces_of(await client.task(task.task_id)) == ["kept"]


async def test_leaving_a_stream_early_leaves_nothing_running(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    await fleet.take(task.task_id)
    await fleet.emit(task.task_id, 1, 0, "a")
    async with aclosing(task.stream()) as stream:
        async for _ in stream:
            break

    async def nobody_follows() -> bool:
        info = await client.connection.api(f"STREAM.INFO.{fleet.subjects.chunks_stream}")
        return info["state"]["consumer_count"] == 0 and not any(
            "ChunkReader" in repr(running.get_coro()) for running in asyncio.all_tasks()
        )

    await eventually(nobody_follows)


async def test_scripts_need_no_asyncio(settings: NatsSettings, fleet: Counterpart) -> None:
    await fleet.serve_echo()

    def script() -> tuple[Any, list[Any], int, int]:
        with SyncClient(settings=settings, fleet=fleet.subjects.fleet) as client:
            task = client.submit("echo", "hi")
            result = task.result(10)
            many = [t.result(10) for t in client.submit_many([("echo", n) for n in range(3)])]
            return result, many, len(list(task.stream())), len(client.tasks())

    assert await asyncio.to_thread(script) == ("hi", [0, 1, 2], 0, 4)


async def test_a_reader_goes_on_from_an_offset_also_after_the_end(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    for n in range(5):
        await fleet.emit(task.task_id, 1, n, str(n))
    await fleet.succeed(task.task_id, epoch, None)
    late = await client.task(task.task_id)
    assert [piece async for piece in late.stream(from_offset=3)] == ["3", "4"]
    assert [piece.offset async for piece in late.chunks(from_offset=5)] == []


async def test_whoever_goes_on_after_a_retry_gets_the_new_attempt_from_its_start(
    client: Client, fleet: Counterpart
) -> None:
    task = await client.submit("chat", {})
    first = await fleet.take(task.task_id)
    for n in range(3):
        await fleet.emit(task.task_id, 1, n, f"old {n}")
    lost = await fleet.lose(task.task_id, first)
    second = await fleet.assign(task.task_id, attempt=2, epoch=lost)
    for n in range(2):
        await fleet.emit(task.task_id, 2, n, f"new {n}")
    await fleet.succeed(task.task_id, second, None, attempt=2)
    late = await client.task(task.task_id)
    had_two = [(piece.attempt, piece.data) async for piece in late.chunks(from_offset=2, attempt=1)]
    assert had_two == [(2, "new 0"), (2, "new 1")]
    had_one = [(piece.attempt, piece.data) async for piece in late.chunks(from_offset=1, attempt=2)]
    assert had_one == [(2, "new 1")]


async def test_output_that_aged_away_is_not_waited_for(client: Client, fleet: Counterpart) -> None:
    task = await client.submit("chat", {})
    epoch = await fleet.take(task.task_id)
    await fleet.emit(task.task_id, 1, 0, "a")
    await fleet.succeed(task.task_id, epoch, "whole")
    await client.connection.api(f"STREAM.PURGE.{fleet.subjects.chunks_stream}")
    late = await client.task(task.task_id)
    assert await pieces_of(late) == []
    assert await late.result(1) == "whole"
