"""Starts processes by forking one that has imported everything already: a real process in milliseconds.

Run as a program it obeys one JSON line after another; `Nursery` is its other end. What it starts dies with
it, and it dies with whoever started it, so nothing can be left behind.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from outrider.broker.parent import end_with_parent

PROJECT = Path(__file__).resolve().parents[2]


class Nursery:
    """The side of whoever wants processes. Use it in a `with` block."""

    def __init__(self) -> None:
        self._program: subprocess.Popen[str] | None = None

    def __enter__(self) -> Nursery:
        single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # what forks must have no threads
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.prove.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | single,
            cwd=PROJECT,
            process_group=0,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - it only calls prctl
        )
        return self

    def start(self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, output: Path) -> int:
        """Start `outrider <arguments>`, or the writing agent; returns its process id."""
        order = {"arguments": list(arguments), "env": dict(env), "folder": str(folder), "output": str(output)}
        return int(self._ask(order)["pid"])

    def ended(self, pid: int) -> int | None:
        """The exit code when it ended, minus the signal's number when one ended it; else None."""
        code: int | None = self._ask({"look": pid})["code"]
        return code

    def reap(self, pid: int) -> None:
        """Wait for the end of a process that was killed."""
        self._ask({"reap": pid})

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._program is not None
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order) + "\n")
        self._program.stdin.flush()
        answer: dict[str, Any] = json.loads(self._program.stdout.readline())
        return answer

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.wait(10)
            for pipe in (self._program.stdin, self._program.stdout):
                if pipe is not None:
                    pipe.close()


def _import_everything() -> Callable[[list[str]], int]:
    import outrider.client
    import outrider.orchestrator.shell
    import outrider.router
    import outrider.router.serving
    import outrider.ui
    import outrider.ui.serving  # noqa: F401
    from outrider.cli.main import main
    from tests.prove import writing_agent

    def run(arguments: list[str]) -> int:
        if arguments[0] == "writing-agent":
            writing_agent.main(arguments[1])
            return 0
        return main(arguments)

    return run


def _become(order: dict[str, Any], run: Callable[[list[str]], int]) -> NoReturn:
    """The life of a child, from the fork to its end."""
    code = 1
    try:
        output = os.open(order["output"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(order["env"])
        os.chdir(order["folder"])
        random.seed()
        code = run(order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - a child must never return into its parent's loop
        sys.stderr.write(f"outrider: died of {error!r}\n")
    sys.stderr.flush()
    os._exit(code)


def _obey(order: dict[str, Any], run: Callable[[list[str]], int]) -> dict[str, Any]:
    if "look" in order or "reap" in order:
        pid, how = (order["look"], os.WNOHANG) if "look" in order else (order["reap"], 0)
        try:
            found, status = os.waitpid(pid, how)
        except ChildProcessError:
            return {"code": -signal.SIGKILL}
        return {"code": os.waitstatus_to_exitcode(status) if found else None}
    in_child = end_with_parent()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        if in_child is not None:
            in_child()
        _become(order, run)
    return {"pid": pid}


def main() -> None:
    """Obey until the orders end."""
    run = _import_everything()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_obey(json.loads(line), run)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
