"""A process that writes one snapshot of the ledger and ends.

Reads its job as one line of JSON on stdin, and ends when its stdin does. Knows no orchestrator.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from typing import Any

from outrider.broker.background import Background
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.pipeline import Appender
from outrider.broker.schema import from_map
from outrider.broker.subjects import Subjects
from outrider.ledger.archive import Archive
from outrider.ledger.replay import Replay
from outrider.ledger.snapshot import take
from outrider.ledger.state import LedgerState

log = logging.getLogger("outrider.snapshot")


async def write_snapshot(connection: Connection, subjects: Subjects, seq: int) -> bool:
    """Keep a snapshot at `seq`, from the one before it; False when another did. Raises OutriderError."""
    archive = Archive(connection, subjects)
    base = await archive.newest(seq)
    if base.seq == seq:
        return False
    replay = Replay(connection, subjects, LedgerState(base))
    state = await replay.to(seq)
    appender = Appender(connection)
    await appender.start()
    async with Background() as background:
        background.spawn(appender.run())
        await archive.keep(appender, take(subjects.fleet, state, replay.anchor))
        await background.end()
    log.info("snapshot at %d: %s, from %d", seq, state.counts(), base.seq)
    return True


async def _run(job: dict[str, Any]) -> None:
    settings = from_map(NatsSettings, job["settings"])
    async with await Connection.open(settings, "snapshot writer") as connection:
        await write_snapshot(connection, Subjects(job["fleet"]), int(job["seq"]))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Do the job on stdin; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="outrider: %(message)s", stream=sys.stderr)
    job = json.loads(sys.stdin.buffer.readline())
    if hasattr(os, "nice"):
        os.nice(int(job["nice"]))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        asyncio.run(_run(job))
    except OutriderError as error:
        log.error("no snapshot at %s: %s", job["seq"], error)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The thread that watches stdin never ends by itself.
    os._exit(code)
