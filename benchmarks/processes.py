"""Starts the real parts as processes for a measurement, and reads what CPU and memory they used."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

READY_WITHIN_S = 30.0


class Parts:
    """Outrider's processes of one measurement; all end with the block."""

    def __init__(self, url: str, fleet: str = "outrider", env: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="outrider-bench-")
        self._env = {
            **os.environ,
            "NATS_URL": url,
            "OUTRIDER_FLEET": fleet,
            "OUTRIDER_STATE": self._folder.name,
            **(env or {}),
        }
        self._children: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *arguments: str, within_s: float = READY_WITHIN_S) -> None:
        """Run `outrider <arguments>` and wait until it says that it is ready."""
        log = Path(self._folder.name) / f"{name}.log"
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "outrider.cli",
                *arguments,
                env=self._env,
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._children[name] = child
        deadline = asyncio.get_running_loop().time() + within_s
        while " ready" not in log.read_text(errors="replace"):
            if child.returncode is not None or asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(0.05)

    def pids(self) -> dict[str, int]:
        return {name: child.pid for name, child in self._children.items()}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(signal.SIGTERM)
        for child in self._children.values():
            try:
                await asyncio.wait_for(child.wait(), 10)
            except TimeoutError:
                child.kill()
        self._folder.cleanup()


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
