"""Real `outrider` processes for tests: started, waited for, killed without warning, cleaned up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.support.waiting import eventually


class Process:
    """One `outrider ...` child. Its output goes to files, so that no pipe can fill."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.arguments = arguments
        self.folder = Path(tempfile.mkdtemp(prefix="outrider-test-"))
        self.out_file, self.err_file = self.folder / "out", self.folder / "err"
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd or self.folder
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.out_file.open("ab") as out, self.err_file.open("ab") as err:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "outrider.cli", *self.arguments],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env=self._env,
                cwd=self._cwd,
            )
        return self

    @property
    def out(self) -> str:
        return self.out_file.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self.err_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    async def ready(self, within_s: float = 30.0) -> Self:
        """Wait for the line in which the part says that it is ready."""

        async def says_so() -> bool:
            assert self.child is not None
            if self.child.poll() is not None:
                raise AssertionError(
                    f"{self.arguments} ended with {self.child.returncode}: {self.err}{self.out}"
                )
            return " ready" in self.err

        await eventually(says_so, within_s, f"{self.arguments} ready")
        return self

    async def ended(self, within_s: float = 30.0) -> int:
        """Wait for the end; returns the exit code."""
        assert self.child is not None
        return await asyncio.to_thread(self.child.wait, within_s)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.child is not None:
            self.child.wait(10)

    def send(self, number: signal.Signals) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)

    async def stop(self) -> None:
        if self.child is None or self.child.poll() is not None:
            return
        self.send(signal.SIGTERM)
        try:
            await asyncio.to_thread(self.child.wait, 10)
        except subprocess.TimeoutExpired:
            self.kill()

    async def __aenter__(self) -> Self:
        self.start()
        return await self.ready()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
