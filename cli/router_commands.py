"""`outrider router eval|explain`: compare policies on measured data, and say why a task went where it did."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from outrider.cli.config import surroundings
from outrider.cli.evaluation_text import report_text
from outrider.cli.exit_codes import OK
from outrider.cli.interruptible import run_interruptibly
from outrider.cli.output import data, document, note, seconds, table
from outrider.cli.parser import Commands, add_command, count, names, positive
from outrider.router.evaluation.names import (
    BENCHES,
    LOADS,
    MEASURED_SCENARIOS,
    POLICIES,
    STRESS_SCENARIOS,
    TRACES,
)

EXAMPLE = "outrider router eval --data ../data --fleets 30 --json"
WORDS = {
    "model": " (lowest expected mean)",
    "explore": " (tried, because little or nothing new is known of it)",
    "cold": " (nothing is known of it yet)",
}


NAMES = f"""What can be named:

  benches    R, measured calls, and S, modelled stress
  arrivals   {" ".join(TRACES)}
  scenarios  of R: {" ".join(MEASURED_SCENARIOS)}
             of S: {" ".join(STRESS_SCENARIOS)}
  policies   {" ".join(POLICIES[:6])}
             {" ".join(POLICIES[6:10])}
             {" ".join(POLICIES[10:])}"""


def add_to(inner: Commands) -> None:
    evaluate = add_command(inner, "eval", "compare routing policies on measured latencies", EXAMPLE, NAMES)
    option = evaluate.add_argument
    option("--data", metavar="DIR", type=Path, required=True, help="folder of the files (docs/router.md)")
    option("--fleets", metavar="N", type=count, default=30, help="random fleets (default 30)")
    option("--seed", metavar="S", type=int, default=1, help="what fleets are drawn from (default 1)")
    option("--bench", metavar="R,S", type=names, default=tuple(BENCHES), help="benches (default R,S)")
    option("--arrivals", metavar="NAMES", type=names, default=TRACES, help="traces for R (default conv,code)")
    option("--loads", metavar="L,...", type=_loads, default=LOADS, help="loads for R (default 0.5,0.7,0.85)")
    option("--scenarios", metavar="NAMES", type=names, help="only these (default base of R and all of S)")
    option("--policies", metavar="NAMES", type=names, help="only these (default all that can run here)")
    evaluate.set_defaults(run=_evaluate)
    example = "outrider router explain TASK_ID"
    explain = add_command(inner, "explain", "say why a task went to its agent", example)
    explain.add_argument("task_id", metavar="TASK_ID")
    explain.set_defaults(run=lambda options: run_interruptibly(_explain(options)))
    stats = add_command(
        inner, "stats", "say how often attempts stayed in what was predicted", "outrider router stats --json"
    )
    stats.add_argument("--attempts", metavar="N", type=count, default=1000, help="the newest (default 1000)")
    stats.set_defaults(run=lambda options: run_interruptibly(_stats(options)))


def _loads(text: str) -> tuple[float, ...]:
    """Numbers above 0, separated by commas, for argparse."""
    return tuple(positive(load) for load in names(text))


# argparse names the function in its message.
_loads.__name__ = "loads"


def _evaluate(options: argparse.Namespace) -> int:
    from outrider.router import evaluate  # noqa: PLC0415 - it brings numpy

    report = evaluate(
        options.data,
        note,
        fleets=options.fleets,
        seed=options.seed,
        benches=options.bench,
        arrivals=options.arrivals,
        loads=options.loads,
        scenarios=options.scenarios,
        policies=options.policies,
    )
    if hasattr(options, "json"):
        document(report)
    else:
        data(report_text(report["rows"]))
    return OK


async def _stats(options: argparse.Namespace) -> int:
    from outrider.router.calibrating import router_stats  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    found = await router_stats(here.settings(), here.fleet, options.attempts)
    if hasattr(options, "json"):
        document(found)
        return OK
    rows = [("all", found), *found["kinds"].items()]
    data(table(("KIND", "ATTEMPTS", "WITHIN P50", "WITHIN P90"), [_coverage_cells(*row) for row in rows]))
    return OK


def _coverage_cells(kind: str, found: dict[str, Any]) -> tuple[str, ...]:
    shares = (found["p50_coverage"], found["p90_coverage"])
    return (kind, str(found["attempts"]), *("-" if s is None else f"{s * 100:.0f} %" for s in shares))


async def _explain(options: argparse.Namespace) -> int:
    from outrider.router.explaining import explain_task  # noqa: PLC0415 - it brings NATS

    here = surroundings(options)
    found = await explain_task(here.settings(), here.fleet, options.task_id)
    if hasattr(options, "json"):
        document(found)
        return OK
    for attempt in found["attempts"]:
        data(_attempt_text(attempt))
    return OK


def _attempt_text(attempt: dict[str, Any]) -> str:
    by = attempt["model"] or "rule"
    words = " (by dice)" if by == "random" else WORDS.get(attempt["reason"], "")
    head = f"attempt {attempt['attempt']} to {attempt['agent']}: {attempt['reason']}{words}, by {by}"
    if "beside_after_s" in attempt:
        head += f"; beside the one before, which had run for {seconds(attempt['beside_after_s'])}"
    rows = [
        [
            ("> " if candidate["agent"] == attempt["agent"] else "  ") + candidate["agent"],
            *(seconds(candidate[name]) for name in ("waiting_s", "p50_s", "p90_s", "finish_s")),
        ]
        for candidate in attempt["candidates"]
    ]
    lines = [head]
    if rows:
        lines.append(table(("  CANDIDATE", "WAITING", "P50", "P90", "FINISH"), rows))
    if "passed_over" in attempt:
        lines.append(_passed_over_text(attempt))
    return "\n".join(lines)


def _passed_over_text(attempt: dict[str, Any]) -> str:
    """Who was no candidate, and why."""
    named = attempt["passed_over"]
    words = ", ".join(f"{one['agent']} ({one['why'].replace('_', ' ')})" for one in named)
    more = attempt["passed_over_count"] - len(named)
    return f"  no candidates: {words}" + (f" and {more} more" if more > 0 else "")
