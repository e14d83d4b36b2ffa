"""`python -m tests.sim --seeds 2000`: run many seeds; `--seed N --trace` shows what happened in one."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from contextlib import nullcontext

from tests.sim.all_bugs import BUGS, planted
from tests.sim.world import Report, simulate


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim", description="simulate Outrider, seed by seed"
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this seed")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a bug first")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    return parser.parse_args()


def main() -> int:
    """Run the seeds; the exit code is 1 when a rule was broken."""
    args = _arguments()
    seeds = [args.seed] if args.seed is not None else range(args.start, args.start + args.seeds)
    began, outcomes, tally, broken = time.perf_counter(), Counter[str](), Counter[str](), 0
    with planted(args.bug) if args.bug else nullcontext():
        for seed in seeds:
            report = simulate(seed, is_traced=args.trace)
            _show(report)
            broken += bool(report.violations)
            outcomes += report.outcomes
            tally += Counter(tasks=report.tasks, faults=report.faults, steps=report.steps)
            if broken and args.stop:
                break
    took_s = time.perf_counter() - began
    print(f"{len(seeds)} seeds in {took_s:.1f} s: {broken} with violations; {dict(tally)}; {dict(outcomes)}")
    return 1 if broken else 0


def _show(report: Report) -> None:
    for line in report.lines:
        print(line)
    for violation in report.violations:
        print(f"seed {report.seed}: {violation}")


if __name__ == "__main__":
    sys.exit(main())
