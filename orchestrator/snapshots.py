"""Has a snapshot written whenever the ledger has grown enough, by a child of low priority.

Why a child: folding 50,000 entries takes seconds of CPU, which nobody's task shall wait for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
from collections.abc import Callable
from subprocess import DEVNULL

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
LEAST_PRIORITY = 19


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
    """Run the child; tells whether it succeeded. What it has to say it says on stderr."""
    job = {"settings": to_map(connection.settings), "fleet": subjects.fleet, "seq": seq, "nice": nice}
    writer = (sys.executable, "-m", "outrider.orchestrator.snapshot_writer")
    try:
        child = await asyncio.create_subprocess_exec(*writer, stdin=asyncio.subprocess.PIPE, stdout=DEVNULL)
    except OSError as error:
        log.warning("no process for the snapshot at %d: %s", seq, error)
        return False
    try:
        # Its input stays open: the child ends when this process does.
        assert child.stdin is not None  # noqa: S101 - PIPE makes one
        child.stdin.write(json.dumps(job).encode() + b"\n")
        code = await asyncio.wait_for(child.wait(), WRITTEN_WITHIN_S)
    except TimeoutError:
        code = -1
    finally:
        if child.returncode is None:
            child.kill()
    if code:
        log.warning("the snapshot at %d is not written, code %d; trying again", seq, code)
    return code == 0
