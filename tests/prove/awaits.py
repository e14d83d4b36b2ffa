"""Crash at every await: the orchestrator of a 20-task run dies at its k-th await, a new one takes over.

Run as a program: `python -m tests.prove.awaits --sample 40` takes 40 values of k spread evenly, without
`--sample` all. Server, client and agents are real; the agents live in this process, beside the doomed one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.broker.background import Background
from outrider.broker.config import NatsSettings
from outrider.broker.errors import OutriderError
from outrider.broker.server import PrivateServer
from outrider.client import Client
from outrider.orchestrator.shell import serve
from tests.prove.book import Book
from tests.prove.mortal import Life, MortalLoop
from tests.prove.notes import read_executions
from tests.prove.verdict import judge
from tests.prove.work import TERMINAL_WITHIN_S, submit_all, until_settled
from tests.prove.writing_agent import Notes, writing_agent
from tests.support.thresholds import QUICK

TASKS = 20
INTERRUPTED = 130
AT_ONCE = 12
SECOND_DIES_BEFORE = 250
MEASURED = 3
"""Runs without a crash: how many awaits there are differs a little from run to run."""


@dataclass(slots=True)
class Crash:
    """What became of one run. `awaits` is how many the first orchestrator got to."""

    at: int | None
    awaits: int
    deaths: int
    """0 when the run was over before, 2 when the second orchestrator died as well."""
    problems: list[str]


class Runs:
    """Runs on one server, each in a fleet of its own."""

    def __init__(self, settings: NatsSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder

    async def run(self, at: int | None) -> Crash:
        """Crash at the `at`-th await, or never."""
        fleet = f"await-{at}"
        folder = self._folder / fleet
        folder.mkdir()
        book = Book()
        async with Background() as background:
            async with self._agents(fleet, folder, background), self._client(fleet) as client:
                sending = background.spawn(submit_all(client, book, fleet, _payloads()))
                settled = background.spawn(self._settled(sending, client, book))
                awaits, deaths = await self._lives(fleet, at, settled)
                waiting = await settled
                await self._forget(client)
            await background.end()
        verdict = judge(book, read_executions([folder / "notes"]), waiting)
        problems = verdict.all_faults()
        if len(book.accepted) != TASKS:
            problems.append(f"only {len(book.accepted)} tasks were accepted")
        shutil.rmtree(folder)
        return Crash(at, awaits, deaths, problems)

    async def _lives(self, fleet: str, at: int | None, settled: asyncio.Task[set[str]]) -> tuple[int, int]:
        """One orchestrator after another until all is settled; the awaits of the first, and the deaths."""
        lives: list[Life] = []
        for ends_at in (at, _again_at(at), None):
            life = Life(ends_at)
            lives.append(life)
            root = life.live(lambda: self._orchestrator(fleet))
            await _first_of(life.ended, settled, root)
            if not life.is_over:
                life.end()
                break
        return lives[0].awaits, len(lives) - 1

    def _orchestrator(self, fleet: str) -> Coroutine[Any, Any, None]:
        return serve(self._settings, fleet, asyncio.Event(), lambda _: None, QUICK)

    async def _settled(self, sending: asyncio.Task[None], client: Client, book: Book) -> set[str]:
        await sending
        return await until_settled(client, book, time.time() + TERMINAL_WITHIN_S)

    @asynccontextmanager
    async def _agents(self, fleet: str, folder: Path, background: Background) -> AsyncIterator[None]:
        notes = Notes(folder / "notes")
        stop = asyncio.Event()
        serving = [
            background.spawn(
                writing_agent(name, notes, folder).serve(self._settings, fleet, stop, lambda _: None)
            )
            for name in ("agent-0", "agent-1")
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait(serving, timeout=10)
            notes.close()

    @asynccontextmanager
    async def _client(self, fleet: str) -> AsyncIterator[Client]:
        async with Client(settings=self._settings, fleet=fleet) as client:
            yield client

    async def _forget(self, client: Client) -> None:
        """Remove the streams: the server shall not carry hundreds of fleets."""
        subjects = client.subjects
        for stream in (subjects.tasks_stream, subjects.ledger_stream, subjects.chunks_stream):
            with contextlib.suppress(OutriderError):
                await client.connection.api(f"STREAM.DELETE.{stream}")


def _payloads() -> list[dict[str, Any]]:
    """Twenty short tasks, two of which fail once."""
    return [{"number": n, "seconds": 0.01 * (n % 5), "fails": int(n in (7, 13))} for n in range(TASKS)]


def _again_at(at: int | None) -> int | None:
    """Where the second orchestrator of a run dies too, in every other run: recovery must survive a crash."""
    return 1 + at * 37 % SECOND_DIES_BEFORE if at is not None and at % 2 else None


async def _first_of(ended: asyncio.Event, *tasks: asyncio.Task[Any]) -> None:
    """Wait for any of them; raises the error of one that failed."""
    waiting = asyncio.ensure_future(ended.wait())
    await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for task in tasks:
        if task.done() and task.exception() is not None:
            await task


@dataclass(slots=True)
class Sum:
    """All runs so far."""

    crashes: int = 0
    crashes_again: int = 0
    last_await: int = 0
    problems: dict[int, list[str]] = field(default_factory=dict)


async def crash_at_every_await(
    folder: Path, sample: int | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Count the awaits of a run, then crash at each, or at `sample` of them; returns the figures."""
    began = time.monotonic()
    done = Sum()
    # Streams reserve their bounds, and dozens of fleets are on this server at once.
    config = folder / "server.conf"
    config.write_text("jetstream { max_file: 1000TB }\n")
    async with PrivateServer(store=folder / "store", config=config) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _abandon, server, folder)
        runs = Runs(NatsSettings(url=server.url, source="proof"), folder)
        whole = [await runs.run(None) for _ in range(MEASURED)]
        if any(run.problems for run in whole):
            done.problems[0] = [problem for run in whole for problem in run.problems]
        shortest, longest = min(run.awaits for run in whole), max(run.awaits for run in whole)
        points = _points(shortest, sample) if sample else list(range(1, longest + 1))
        say(f"a run has {shortest} to {longest} awaits; crashing at {len(points)} of them")
        places = asyncio.Semaphore(AT_ONCE)

        async def crash(at: int) -> None:
            async with places:
                try:
                    found = await runs.run(at)
                except Exception as error:  # noqa: BLE001 - the others go on, and the report names it
                    found = Crash(at, 0, 0, [repr(error)])
            done.crashes += found.deaths > 0
            done.crashes_again += found.deaths > 1
            done.last_await = max(done.last_await, at if found.deaths else 0)
            if found.problems:
                done.problems[at] = found.problems
                say(f"await {at}: {'; '.join(found.problems[:5])}")
            if done.crashes % 50 == 0:
                say(f"{done.crashes} crashes")

        async with asyncio.TaskGroup() as group:
            for at in points:
                group.create_task(crash(at))
    return {
        "awaits": longest,
        "crashes": done.crashes,
        "crashes_of_the_second": done.crashes_again,
        "last_await": done.last_await,
        "tasks": TASKS * (MEASURED + len(points)),
        "failed_at": sorted(done.problems),
        "took_s": round(time.monotonic() - began, 1),
    }


def _points(awaits: int, sample: int) -> list[int]:
    """So many of them, spread evenly from the first to the last."""
    return sorted({1 + round(n * (awaits - 1) / (sample - 1)) for n in range(sample)})


def main() -> None:
    """Run, print the figures, and end without any clean-up in this process: the dead must stay dead."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove.awaits")
    parser.add_argument("--sample", type=int, help="so many values of k instead of all")
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="outrider-prove-"))
    tempfile.tempdir = str(folder)
    code = 1
    try:
        with asyncio.Runner(loop_factory=MortalLoop) as runner:
            figures = runner.run(
                crash_at_every_await(
                    folder, args.sample, lambda line: print(line, file=sys.stderr, flush=True)
                )
            )
            print(json.dumps(figures), flush=True)
            code = 1 if figures["failed_at"] else 0
            _leave(folder, code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001 - shown here, since nothing after this runs
        traceback.print_exc()
    finally:
        _leave(folder, code)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _abandon(server: PrivateServer, folder: Path) -> None:
    """Stop at once: nothing here is worth an orderly end."""
    server.kill()
    _leave(folder, INTERRUPTED)


def _leave(folder: Path, code: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(code)


if __name__ == "__main__":
    main()
