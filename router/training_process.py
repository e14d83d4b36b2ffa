"""A process that trains the fleet's model once and ends.

Reads its job as one line of JSON on stdin, and ends when its stdin does. Knows no router.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.errors import OutriderError, Refused
from outrider.broker.schema import from_map
from outrider.router.decisions import Trigger
from outrider.router.fleet_training import train_fleet

log = logging.getLogger("outrider.training")

LEAST_PRIORITY = 19


async def _run(job: dict[str, Any]) -> None:
    env = {"OUTRIDER_ROUTER_FEWEST_ROWS": str(job["fewest_rows"]), "OUTRIDER_MODEL_KEY": job["model_key"]}
    await train_fleet(
        from_map(NatsSettings, job["settings"]),
        job["fleet"],
        Path(job["state"]),
        env=env,
        trigger=Trigger(job["trigger"]),
        after=int(job["after"]),
    )


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Do the job on stdin; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="outrider: %(message)s", stream=sys.stderr)
    job = json.loads(sys.stdin.buffer.readline())
    if hasattr(os, "nice"):
        os.nice(LEAST_PRIORITY)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        asyncio.run(_run(job))
    except Refused as refused:
        log.info("no training: %s", refused)
    except OutriderError as error:
        log.error("no training: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The thread that watches stdin never ends by itself.
    os._exit(code)
