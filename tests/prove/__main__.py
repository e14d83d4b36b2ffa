"""`python -m tests.prove`: prove what docs/promises.md promises, on real processes and real servers."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from outrider.broker.parent import end_with_parent
from tests.prove.cluster import kill_leaders
from tests.prove.kills import Wanted, prove_kills
from tests.prove.nursery import PROJECT
from tests.prove.power import cut_power
from tests.prove.report import lines, table

PROOFS = ("kills", "awaits", "cluster", "power")
FAILURES = ("seeds_failed", "failed_at", "failures")
HELP = """proofs: kills (random kill -9 and freezes of every part), awaits (a crash at every await of the
orchestrator), cluster (three nodes lose the leader under load), power (a power cut; needs root and loop
devices). Without a name: all, or only the kill schedules when their number, tasks or seed is given."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.prove",
        description="Prove what docs/promises.md promises, on real processes and real servers.",
        epilog=HELP,
    )
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help="which (default: see below)")
    parser.add_argument("--schedules", type=int, help="kill schedules (default 200)")
    parser.add_argument("--tasks", type=int, help="their tasks in all (default 50 a schedule)")
    parser.add_argument("--seed", type=int, help="seed of the first schedule (default 1)")
    parser.add_argument("--defaults", type=int, help="how many run with default thresholds (full form: 5)")
    parser.add_argument("--at-once", type=int, default=4, help="schedules side by side (default 4)")
    parser.add_argument("--sample", type=int, help="awaits: so many crash points instead of all")
    parser.add_argument("--leader-kills", type=int, default=10, help="cluster: how many (default 10)")
    parser.add_argument("--cuts", type=int, default=3, help="power: how many, and a control (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    unknown = set(args.proofs) - set(PROOFS)
    if unknown:
        parser.error(f"no proof is called {min(unknown)}; there are {', '.join(PROOFS)}")
    return args


def _chosen(args: argparse.Namespace) -> list[str]:
    if args.proofs:
        return [proof for proof in PROOFS if proof in args.proofs]
    is_sized = any(given is not None for given in (args.schedules, args.tasks, args.seed))
    return ["kills"] if is_sized else list(PROOFS)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _wanted(args: argparse.Namespace) -> Wanted:
    schedules = args.schedules if args.schedules is not None else 200
    tasks = args.tasks if args.tasks is not None else 50 * schedules
    return Wanted(schedules, tasks, args.seed if args.seed is not None else 1, args.at_once, args.defaults)


async def _awaits(args: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own, which ends without any clean-up."""
    sample = ["--sample", str(args.sample)] if args.sample else []
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.prove.awaits", *sample),
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env=os.environ | {"TMPDIR": tempfile.gettempdir()},
        process_group=0,  # Ctrl-C comes from here, once
        preexec_fn=end_with_parent(),
    )
    try:
        output, _ = await program.communicate()
    except asyncio.CancelledError:
        program.send_signal(signal.SIGINT)
        await program.wait()
        raise
    figures: dict[str, Any] = json.loads(output or b'{"failed_at": ["it did not finish"]}')
    return figures


async def _prove(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    chosen = _chosen(args)
    figures: dict[str, Any] = {}
    if "kills" in chosen:
        figures |= await prove_kills(_wanted(args), folder, _say)
    if "awaits" in chosen:
        figures["awaits"] = await _awaits(args)
    if "cluster" in chosen:
        figures["cluster"] = await kill_leaders(_own(folder, "cluster"), args.leader_kills, _say)
    if "power" in chosen:
        figures["power"] = await cut_power(_own(folder, "power"), args.cuts, args.seed or 1, _say)
    return figures


def _own(folder: Path, name: str) -> Path:
    own = folder / name
    own.mkdir()
    return own


def _has_failed(figures: dict[str, Any]) -> bool:
    """Whether any of the lists of failures holds something."""
    parts = [figures, *(value for value in figures.values() if isinstance(value, dict))]
    return any(part.get(name) for part in parts for name in FAILURES)


def _print(figures: dict[str, Any]) -> None:
    if "schedules" in figures:
        print("kill schedules\n" + table(figures))
    for name, value in figures.items():
        if name in PROOFS and isinstance(value, dict):
            print(f"{name}\n{lines(value)}")


def main() -> int:
    """Run the proofs; the exit code is 1 when one failed, 130 when interrupted."""
    args = _arguments()
    logging.basicConfig(level=logging.CRITICAL)  # links are cut on purpose here
    folder = Path(tempfile.mkdtemp(prefix="outrider-prove-"))
    tempfile.tempdir = str(folder)
    try:
        figures = asyncio.run(_prove(args, folder))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(figures))
    else:
        _print(figures)
    return 1 if _has_failed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())
