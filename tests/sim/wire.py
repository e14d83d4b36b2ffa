"""Machines and their connections: what freezes, what is partitioned, what is lost on the way.

One connection is ordered like TCP. A partition first only holds messages back, as kernels do; when it lasts
longer than a client's pings, the connection is lost with all that was on its way. A client without a
connection buffers what it sends, as nats-py does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sim.loop import Action, Loop, SimClock

MOST_BUFFERED = 1000
UP, DOWN, FEED = "up", "down", "feed"
"""What is ordered among itself; a push consumer's messages are ordered, but not with receipts."""


@dataclass(slots=True)
class Weather:
    """How bad the network is now; all zero once the faults stop."""

    drop: float = 0.0
    """Share of messages that never arrive."""
    duplicate: float = 0.0
    late: float = 0.0
    """Share of messages that take seconds, and overtake nothing."""
    blind: float = 0.0
    """Share of receipts that never arrive although the message is stored."""
    crash: float = 0.0
    """Chance of a crash between two steps of an orchestrator."""
    deaf: float = 0.0
    """Share of orchestrators' pulses that nobody hears."""

    @property
    def is_bad(self) -> bool:
        return self.drop + self.duplicate + self.late + self.deaf > 0

    def clear(self) -> None:
        self.drop = self.duplicate = self.late = self.blind = self.crash = self.deaf = 0.0


class Node:
    """A process: it may die, freeze and start again. What it plans dies with it."""

    def __init__(self, loop: Loop, link: Link, name: str) -> None:
        self.loop = loop
        self.link = link
        self.name = name
        self.clock = SimClock(loop)
        self.life = 0
        self.is_alive = False
        self.is_frozen = False
        self.troubled_at = 0.0
        """When a fault last touched this process or its connection."""
        self._waiting: list[tuple[int, Action]] = []
        link.node = self

    def start(self) -> None:
        self.life += 1
        self.is_alive = True
        self.loop.trace(self.name, "starts")
        self.link.connect()

    def kill(self) -> None:
        """kill -9: memory, buffers and subscriptions are gone at once."""
        if self.is_alive:
            self.loop.trace(self.name, "is killed")
        self.is_alive = self.is_frozen = False
        self.life += 1
        self._waiting.clear()
        self.troubled_at = self.loop.now
        self.link.cut(is_noticed=True)

    def freeze(self) -> None:
        if self.is_alive:
            self.loop.trace(self.name, "freezes")
            self.is_frozen = True
            self.troubled_at = self.loop.now

    def thaw(self) -> None:
        if not self.is_frozen:
            return
        self.loop.trace(self.name, "thaws")
        self.is_frozen = False
        self.troubled_at = self.loop.now
        waiting, self._waiting = self._waiting, []
        for life, action in waiting:
            if life == self.life:
                action()

    def after(self, delay_s: float, action: Action) -> None:
        """Do it later, unless this process has died by then; a frozen one does it when it thaws."""
        life = self.life
        self.loop.after(delay_s, lambda: self.run(life, action))

    def run(self, life: int, action: Action) -> None:
        if life != self.life:
            return
        if self.is_frozen:
            self._waiting.append((life, action))
        else:
            action()

    def link_changed(self, is_up: bool) -> None:
        """Told by the connection; services override it."""


class Link:
    """One process's connection to the server."""

    def __init__(
        self,
        loop: Loop,
        weather: Weather,
        execute: Callable[[Action], None],
        is_server_up: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._weather = weather
        self._execute = execute
        self._is_server_up = is_server_up
        self.node: Node
        self.is_up = False
        """The client believes so."""
        self.is_known = False
        """The server believes so, and so there are responders."""
        self.is_black = False
        self._number = 0
        self._busy_until = {UP: 0.0, DOWN: 0.0, FEED: 0.0}
        self._held: list[tuple[int, str, Action]] = []
        self._buffer: list[Action] = []

    def connect(self) -> None:
        if self.is_black or not self._is_server_up():
            return
        self._number += 1
        self.is_up = self.is_known = True
        buffer, self._buffer = self._buffer, []
        for action in buffer:
            self._fly(UP, action)

    def reconnect(self) -> None:
        """Back after an outage: subscriptions are made again, the buffer is sent, the process is told."""
        node = self.node
        if node.is_alive and not self.is_up:
            self.connect()
        if node.is_alive and self.is_up:
            node.troubled_at = self._loop.now
            node.run(node.life, lambda: node.link_changed(True))

    def cut(self, *, is_noticed: bool) -> None:
        """The connection is lost with all that was on its way; the process is told unless it is dead."""
        self._number += 1
        was_up, self.is_up = self.is_up, False
        self.is_known = self.is_known and not is_noticed
        self._held.clear()
        node = self.node
        node.troubled_at = self._loop.now
        if not node.is_alive:
            self._buffer.clear()
        elif was_up:
            node.run(node.life, lambda: node.link_changed(False))

    def partition(self, duration_s: float) -> None:
        """Nothing passes for a while; whoever pings finds out after some seconds."""
        self.is_black = True
        self.node.troubled_at = self._loop.now
        number = self._number
        self._loop.trace(self.node.name, f"is cut off for {duration_s:.1f} s")
        self._loop.after(self._loop.random.uniform(4.0, 6.0), lambda: self._give_up(number))
        self._loop.after(duration_s, self.heal)

    def _give_up(self, number: int) -> None:
        if self.is_black and number == self._number:
            self.cut(is_noticed=False)

    def heal(self) -> None:
        if not self.is_black:
            return
        self.is_black = False
        self.node.troubled_at = self._loop.now
        self._loop.trace(self.node.name, "is not cut off any more")
        if self.is_up:
            held, self._held = self._held, []
            for number, way, action in held:
                self._arrive(number, way, action)
        else:
            self._loop.after(self._loop.random.uniform(0.05, 0.5), self.reconnect)

    def send(self, action: Action) -> None:
        """Have the server do something, as soon as it hears of it."""
        if self.is_up:
            self._fly(UP, action)
        elif len(self._buffer) < MOST_BUFFERED:
            self._buffer.append(action)

    def reply_to(self, action: Callable[[Any], None], way: str = DOWN) -> Callable[[Any], None]:
        """What the server calls to answer this process; nobody hears it in a later life."""
        node, life = self.node, self.node.life

        def reply(value: Any) -> None:
            self.deliver(lambda: node.run(life, lambda: action(value)), way)

        return reply

    def deliver(self, action: Action, way: str = DOWN) -> None:
        """From the server to this process; to a connection that is lost unnoticed it speaks in vain."""
        if self.is_known and self.is_up:
            self._fly(way, action)

    def _fly(self, way: str, action: Action) -> None:
        loop, weather, number = self._loop, self._weather, self._number
        delay_s = loop.random.uniform(0.0002, 0.003)
        if way is not FEED and weather.is_bad:
            if loop.chance(weather.drop):
                loop.trace(self.node.name, "message lost")
                return
            if loop.chance(weather.late):
                delay_s += loop.random.uniform(0.1, 3.0)
            if loop.chance(weather.duplicate):
                again_s = loop.random.uniform(0.0, 4.0)
                loop.after(again_s, lambda: self._arrive(number, way, action))
        when = max(self._busy_until[way], loop.now + delay_s)
        self._busy_until[way] = when
        loop.at(when, lambda: self._arrive(number, way, action))

    def _arrive(self, number: int, way: str, action: Action) -> None:
        if number != self._number:
            return
        if self.is_black:
            self._held.append((number, way, action))
        elif way is UP:
            self._execute(action)
        else:
            action()
