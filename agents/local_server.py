"""The process that serves the local model on loopback: `python -m outrider.agents.local_server FOLDER`.

Knows nothing of NATS or tasks. Ends when no agent holds the lock on FOLDER/users any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from outrider.agents.local import model_file

CONTEXT_TOKENS = 8192
PARALLEL = 4
CHECK_S = 0.5


def parameters(folder: Path) -> Any:
    """What llama.cpp is told: the model, its limits, and the address it had before, if any."""
    import xllamacpp  # noqa: PLC0415 - only this process pays for it

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {model_file().stem}
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = PARALLEL
    params.cpuparams.n_threads = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    params.hostnames = ["127.0.0.1"]
    params.port = former_port(folder)
    params.api_keys = [(folder / "key").read_text()]
    params.offline = True
    params.ui = False
    params.cors_origins = ""
    params.verbosity = -1
    return params


def former_port(folder: Path) -> int:
    """The port in `address.json`, so that clients of a server that died find the new one; else 0."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        return int(json.loads((folder / "address.json").read_text())["url"].rpartition(":")[2])
    return 0


def publish_address(folder: Path, url: str) -> None:
    fresh = folder / f"address.{os.getpid()}"
    fresh.write_text(json.dumps({"url": url, "model": model_file().stem, "pid": os.getpid()}))
    fresh.replace(folder / "address.json")


def until_unused(folder: Path) -> None:
    """Return when nobody uses the server; the lock then keeps new users waiting until it is gone."""
    users = os.open(folder / "users", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(CHECK_S)
        else:
            return


def main(folder: Path) -> None:
    import xllamacpp  # noqa: PLC0415

    server = xllamacpp.Server(parameters(folder))
    publish_address(folder, str(server.listening_address).rstrip("/"))
    until_unused(folder)
    (folder / "address.json").unlink(missing_ok=True)
    # llama.cpp's own threads would make an ordinary exit slow, and there is nothing to save.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
