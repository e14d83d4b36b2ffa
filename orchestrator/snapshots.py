"""Has a snapshot written whenever the ledger has grown enough, by a child of low priority.

Why a child: folding 50,000 entries takes seconds of CPU, which nobody's task shall wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from outrider.broker.child import LEAST_PRIORITY, ChildFailed, run_child
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.schema import to_map
from outrider.broker.subjects import Subjects
from outrider.ledger.archive import Archive

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
AGAIN_S = 60.0
WRITTEN_WITHIN_S = 900.0
MOST_AT_ONCE = 5
"""Marks that one child passes, so that what it did is soon kept."""


async def keep_snapshots(
    connection: Connection, subjects: Subjects, every: int, position: Callable[[], int]
) -> None:
    """Look at `position()`, the last entry that was folded, and have each mark of `every` entries kept.

    Several orchestrators look at different moments, and whoever comes first writes. Runs until cancelled.
    """
    archive, done = Archive(connection, subjects), 0
    while True:
        await asyncio.sleep(random.uniform(0.2, 1.0) * LOOK_EVERY_S)
        mark = position() // every * every
        if mark <= done or not connection.is_connected:
            continue
        with contextlib.suppress(OutriderError):
            done = max([0, *await archive.seqs()])
            behind = (mark - done) // every
            if behind > 0:
                seq = min(mark, (done // every + MOST_AT_ONCE) * every)
                if not await _write_by_child(connection, subjects, seq, niceness(behind)):
                    await asyncio.sleep(AGAIN_S)


def niceness(behind: int) -> int:
    """How little the child insists on the CPU: not at all, but more when it is many marks behind."""
    return max(0, LEAST_PRIORITY - 2 * (behind - 1))


async def _write_by_child(connection: Connection, subjects: Subjects, seq: int, nice: int) -> bool:
    """Tells whether it succeeded."""
    job = {"settings": to_map(connection.settings), "fleet": subjects.fleet, "seq": seq, "nice": nice}
    try:
        await run_child("outrider.orchestrator.snapshot_writer", job, WRITTEN_WITHIN_S)
    except ChildFailed as failed:
        log.warning("the snapshot at %d is not written: %s; trying again", seq, failed)
        return False
    return True
