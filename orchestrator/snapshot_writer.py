"""A process that writes one snapshot of the ledger and ends.

The child of `broker/child.py`. Knows no orchestrator.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from outrider.broker.background import Background
from outrider.broker.child import do_job
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
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


async def _run(job: Mapping[str, Any]) -> None:
    settings = from_map(NatsSettings, job["settings"])
    async with await Connection.open(settings, "snapshot writer") as connection:
        await write_snapshot(connection, Subjects(job["fleet"]), int(job["seq"]))


if __name__ == "__main__":
    do_job("snapshot", _run)
