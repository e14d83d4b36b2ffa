"""The parts of one fleet as child processes: started, waited for, their lines passed on, restarted, stopped.

Knows no part by name. A child never outlives this process, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from outrider.broker.parent import end_with_parent
from outrider.cli.exit_codes import PartFailed

READY_WITHIN_S = 60.0
FINISH_WITHIN_S, INTERRUPT_WITHIN_S = 6.0, 4.0
FIRST_RESTART_S, LONGEST_RESTART_S = 0.5, 8.0
MOST_RESTARTS = 5
HEALTHY_AFTER_S = 60.0
LONGEST_LINE = 1 << 20

OnLine = Callable[[str, str], None]
"""Given the part's name and a line of its stderr."""


@dataclass(slots=True)
class Part:
    """One child. `stage` orders the stop: higher stages stop first."""

    name: str
    arguments: tuple[str, ...]
    stage: int
    process: Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ready_line: str = ""
    last_line: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0


class FleetProcesses:
    """Children of this process, all `outrider ...`, with one environment."""

    def __init__(self, env: Mapping[str, str], on_line: OnLine) -> None:
        self._env = dict(env)
        self._on_line = on_line
        self._parts: list[Part] = []
        self._stopping = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, name: str, *arguments: str, stage: int = 0) -> Part:
        """Start a part and wait for its ready line. Raises PartFailed with what the part said last."""
        part = Part(name, arguments, stage)
        self._parts.append(part)
        await self._launch(part)
        await self._until_ready(part)
        return part

    async def _launch(self, part: Part) -> None:
        part.ready.clear()
        part.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "outrider.cli",
            *part.arguments,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            env=self._env,
            limit=LONGEST_LINE,
            process_group=0,  # Ctrl-C is for this process, which stops them in order
            preexec_fn=end_with_parent(),
        )
        reader = asyncio.create_task(self._pass_on(part, part.process))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _pass_on(self, part: Part, process: Process) -> None:
        assert process.stderr is not None  # noqa: S101 - it was asked for
        while True:
            try:
                line = (await process.stderr.readline()).decode("utf-8", "replace")
            except ValueError:
                continue
            if not line:
                return
            text = line.rstrip().removeprefix("outrider: ")
            part.last_line = text or part.last_line
            if text.endswith(" ready"):
                part.ready_line = text
                part.ready.set()
            self._on_line(part.name, text)

    async def _until_ready(self, part: Part) -> None:
        assert part.process is not None  # noqa: S101 - launched before
        ended = asyncio.create_task(part.process.wait())
        ready = asyncio.create_task(part.ready.wait())
        try:
            await asyncio.wait([ended, ready], timeout=READY_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
            if part.ready.is_set():
                return
            if not ended.done():
                raise PartFailed(f"{part.name} was not ready within {READY_WITHIN_S:g} s", 1)
            await self._lines_read()
            raise PartFailed(f"{part.name}: {part.last_line or 'ended without a word'}", ended.result())
        finally:
            ended.cancel()
            ready.cancel()

    async def _lines_read(self) -> None:
        if self._readers:
            await asyncio.wait(list(self._readers), timeout=0.5)

    async def supervise(self) -> None:
        """Start again, after a pause, each part that ends by itself.

        Raises PartFailed when one ends over and over.
        """
        async with asyncio.TaskGroup() as group:
            for part in self._parts:
                group.create_task(self._keep(part))

    async def _keep(self, part: Part) -> None:
        failures, pause_s = 0, FIRST_RESTART_S
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            assert part.process is not None  # noqa: S101 - started before
            since = loop.time()
            status = await part.process.wait()
            if self._stopping.is_set():
                return
            if status == 0:
                self._on_line(part.name, "ended in order")
                return
            if loop.time() - since > HEALTHY_AFTER_S:
                failures, pause_s = 0, FIRST_RESTART_S
            failures += 1
            if failures > MOST_RESTARTS:
                raise PartFailed(f"{part.name} ended {failures} times in a row: {part.last_line}", status)
            self._on_line(part.name, f"ended with exit code {status}; starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RESTART_S)
            if not self._stopping.is_set():
                await self._launch(part)

    async def stop(self) -> None:
        """End all children in order: the last stage first, each with time to finish."""
        self._stopping.set()
        for stage in sorted({part.stage for part in self._parts}, reverse=True):
            await asyncio.gather(*(self._stop(part) for part in self._parts if part.stage == stage))
        await self._lines_read()

    async def _stop(self, part: Part) -> None:
        if part.process is None or part.process.returncode is not None:
            return
        # The first asks to finish what runs, the second interrupts it.
        for number, within_s in ((signal.SIGTERM, FINISH_WITHIN_S), (signal.SIGTERM, INTERRUPT_WITHIN_S)):
            if await self._ends_after(part.process, number, within_s):
                return
        self._on_line(part.name, "did not end and is killed")
        await self._ends_after(part.process, signal.SIGKILL, None)

    async def _ends_after(self, process: Process, number: signal.Signals, within_s: float | None) -> bool:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            async with asyncio.timeout(within_s):
                await process.wait()
        except TimeoutError:
            return False
        return True
