"""A process that trains the fleet's model once and ends.

The child of `broker/child.py`. Knows no router.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outrider.broker.child import do_job
from outrider.broker.config import NatsSettings
from outrider.broker.errors import Refused
from outrider.broker.schema import from_map
from outrider.router.decisions import Trigger
from outrider.router.fleet_training import train_fleet

log = logging.getLogger("outrider.training")


async def _run(job: Mapping[str, Any]) -> None:
    env = {"OUTRIDER_ROUTER_FEWEST_ROWS": str(job["fewest_rows"]), "OUTRIDER_MODEL_KEY": job["model_key"]}
    try:
        await train_fleet(
            from_map(NatsSettings, job["settings"]),
            job["fleet"],
            Path(job["state"]),
            env=env,
            trigger=Trigger(job["trigger"]),
            after=int(job["after"]),
        )
    except Refused as refused:
        log.info("no training: %s", refused)


if __name__ == "__main__":
    do_job("training", _run)
