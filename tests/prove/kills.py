"""The kill schedules: many seeds, a few at a time, one report."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.prove.nursery import Nursery
from tests.prove.plan import Plan, plan
from tests.prove.report import Broken, failures, story, summary
from tests.prove.schedule import Outcome, run_schedule

FULL_FORM = 100
WITH_DEFAULTS_IN_FULL_FORM = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much to prove."""

    schedules: int = 200
    tasks: int = 10_000
    seed: int = 1
    at_once: int = 3
    with_defaults: int | None = None

    def plans(self) -> list[Plan]:
        """One plan a seed; the full form runs the first few with default thresholds."""
        given = self.with_defaults
        is_full = self.schedules >= FULL_FORM
        defaults = given if given is not None else (WITH_DEFAULTS_IN_FULL_FORM if is_full else 0)
        each, more = divmod(self.tasks, self.schedules)
        return [
            plan(self.seed + n, each + (n < more), is_default=n < defaults) for n in range(self.schedules)
        ]


async def prove_kills(wanted: Wanted, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run them all; returns the figures."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    broken: list[Broken] = []
    places = asyncio.Semaphore(wanted.at_once)

    async def run(chosen: Plan, nursery: Nursery) -> None:
        async with places:
            own = folder / f"schedule-{chosen.seed}"
            try:
                outcome = await run_schedule(chosen, nursery, own)
            except Exception as error:  # noqa: BLE001 - the others go on, and the report names it
                broken.append(Broken(chosen.seed, repr(error)))
                say(f"seed {chosen.seed} broke: {error!r}")
            else:
                outcomes.append(outcome)
                _tell(outcome, wanted, len(outcomes) + len(broken), say)
            shutil.rmtree(own, ignore_errors=True)

    with Nursery() as nursery:
        async with asyncio.TaskGroup() as group:
            for chosen in wanted.plans():
                group.create_task(run(chosen, nursery))
    return summary(outcomes, broken, time.monotonic() - began)


def _tell(outcome: Outcome, wanted: Wanted, done: int, say: Callable[[str], None]) -> None:
    v = outcome.verdict
    is_bad = bool(failures([outcome], []))
    say(
        f"{done}/{wanted.schedules} seed {outcome.plan.seed}: {v.tasks} tasks, {len(outcome.blows)} faults, "
        f"{v.interrupted} attempts cut off, settled in {outcome.settled_s:.1f} s"
        + (": FAILED" if is_bad else "")
    )
    if is_bad:
        for line in story(outcome):
            say(line)
