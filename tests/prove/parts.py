"""One process of a schedule: started, killed, frozen, thawed, and started again when it ended by itself."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.prove.nursery import Nursery
from tests.prove.passing import pass_time

UNAVAILABLE = (69, 124)
"""How a part ends that finds no server that answers when it starts: supervisors try again."""
LOOK_EVERY_S = 0.25
READY = re.compile(r"^outrider: (.+) ready$", re.MULTILINE)


class Part:
    """A role's process in one seat, over all its lives."""

    def __init__(self, nursery: Nursery, role: str, name: str, arguments: list[str], folder: Path) -> None:
        self.role = role
        self.name = name
        self._nursery = nursery
        self._arguments = arguments
        self._folder = folder
        self._output = folder / f"{name}.log"
        self._env: dict[str, str] = {}
        self.pid = 0
        """0 while it does not exist."""
        self.is_down = False
        """Killed or frozen by a fault that is not over."""
        self.ended_by_itself: list[str] = []

    def start(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._launch()

    def _launch(self) -> None:
        self.pid = self._nursery.start(self._arguments, self._env, self._folder, self._output)

    @property
    def lives(self) -> list[str]:
        """What it said of itself at each ready line, such as `orchestrator o-1a2b3c`."""
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        return READY.findall(text)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._nursery.reap(self.pid)
        self.pid = 0

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def again(self) -> None:
        self._launch()

    def _signal(self, number: signal.Signals) -> None:
        # Only whoever started it can reap it, and only on our word: the id cannot be another's by now.
        os.kill(self.pid, number)

    async def keep_alive(self) -> None:
        """Start it again whenever it ends by itself, as a supervisor does; runs until cancelled."""
        while True:
            await pass_time(LOOK_EVERY_S)
            if not self.is_down:
                self.start_again_if_ended()

    def start_again_if_ended(self) -> None:
        """Start it again if it ended by itself, and note it unless NATS was the reason."""
        code = self._nursery.ended(self.pid)
        if code is None:
            return
        if code not in UNAVAILABLE:
            self.ended_by_itself.append(f"{self.name} ended with {code}: {self.last_words}")
        self._launch()

    @property
    def last_words(self) -> str:
        lines = self._output.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
