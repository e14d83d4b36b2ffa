"""One job done by a child process, so that its seconds of CPU block no loop of ours: both ends of it.

Knows no job: it travels as one line of JSON on the child's stdin. That then stays open; by its end the child
knows that whoever wanted the job is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from outrider.broker.errors import OutriderError

Work = Callable[[Mapping[str, Any]], Awaitable[None]]

LEAST_PRIORITY = 19
LOST_PARENT = 1

log = logging.getLogger("outrider.child")


class ChildFailed(Exception):
    """The job is not done; the message says how the child ended. What it had to say stands on stderr."""


async def run_child(module: str, job: Mapping[str, Any], within_s: float) -> None:
    """Have `module`, which calls `do_job`, do this job. When cancelled it takes the child along.

    Raises ChildFailed when there is no process for it, it ends with another code than 0, or takes too long.
    """
    program = (sys.executable, "-m", module)
    try:
        # A session of its own: Ctrl-C is for its parent, which then ends it.
        child = await asyncio.create_subprocess_exec(
            *program, stdin=PIPE, stdout=DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise ChildFailed(f"no process for it: {error}") from error
    try:
        assert child.stdin is not None  # noqa: S101 - PIPE makes one
        child.stdin.write(json.dumps(job).encode() + b"\n")
        async with asyncio.timeout(within_s):
            code = await child.wait()
    except TimeoutError:
        raise ChildFailed(f"killed, it took longer than {within_s:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code:
        raise ChildFailed(f"it ended with code {code}")


def do_job(what: str, work: Work) -> NoReturn:
    """The child's end: do the job on stdin at the priority `nice` that it names, then end the process.

    The exit code is 0, or 1 after an OutriderError, which is told on stderr as "no WHAT: ...".
    """
    logging.basicConfig(level=logging.INFO, format="outrider: %(message)s", stream=sys.stderr)
    job = json.loads(sys.stdin.buffer.readline())
    if hasattr(os, "nice"):
        os.nice(int(job.get("nice", LEAST_PRIORITY)))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = _done(what, work, job)
    sys.stderr.flush()
    # The thread that watches stdin never ends by itself.
    os._exit(code)


def _done(what: str, work: Work, job: Mapping[str, Any]) -> int:
    async def run() -> None:
        await work(job)

    try:
        asyncio.run(run())
    except OutriderError as error:
        log.error("no %s: %s", what, error)
        return 1
    return 0


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock this thread would hold when the interpreter ends.
    while os.read(0, 4096):
        pass
    os._exit(LOST_PARENT)
