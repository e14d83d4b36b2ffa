"""Breaks things at random times, and in the end mends them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from outrider.orchestrator import events
from tests.sim.fake_agents import FakeAgent
from tests.sim.fake_client import FakeClient
from tests.sim.fake_router import MODES, FakeRouter
from tests.sim.fake_server import FakeServer
from tests.sim.scenario import Scenario
from tests.sim.sim_shell import SimShell
from tests.sim.wire import Node

N = TypeVar("N", bound=Node)
DAY_S = 86_400.0


class Faults:
    """Everything that may happen to one world, by name."""

    def __init__(
        self,
        scenario: Scenario,
        server: FakeServer,
        shells: Sequence[SimShell],
        agents: Sequence[FakeAgent],
        router: FakeRouter,
        client: FakeClient,
    ) -> None:
        self._scenario = scenario
        self._server = server
        self._shells = shells
        self._agents = agents
        self._router = router
        self._client = client
        self._loop = server.loop
        self._random = server.loop.random
        self._is_over = False
        self.count = 0
        self._do: dict[str, Callable[[], None]] = {
            "kill_orchestrator": lambda: self._kill(self._any(shells)),
            "freeze_orchestrator": lambda: self._freeze(self._any(shells)),
            "partition_orchestrator": lambda: self._partition(self._any(shells)),
            "stop_orchestrator": self._stop_orchestrator,
            "kill_agent": self._kill_agent,
            "freeze_agent": lambda: self._freeze(self._any(agents)),
            "partition_agent": lambda: self._partition(self._any(agents)),
            "drain_agent": self._drain_agent,
            "crash_server": self._crash_server,
            "freeze_server": self._freeze_server,
            "jetstream_gap": self._jetstream_gap,
            "forget_pulls": server.forget_pulls,
            "router_mode": self._change_router,
            "kill_router": lambda: self._kill(router),
            "partition_client": lambda: self._partition(client),
            "hostile_entry": self._hostile_entry,
            "jump_clock": self._jump_clock,
            "fill_ledger": self._fill_ledger,
            "stop_agent": self._stop_agent,
        }

    def plan(self) -> None:
        """The next fault, and so on until they stop."""
        if self._scenario.starts_rough and not self.count:
            self._start_rough()
        if self._scenario.stalls and not self.count:
            self._later(1.0, 10.0, self._stall)
        if not self._scenario.faults:
            return
        self._loop.after(self._random.expovariate(1.0 / self._scenario.fault_every_s), self._strike)

    def _stall(self) -> None:
        """An orchestrator stands still, and finds what it missed when it goes on."""
        self.count += 1
        shell = self._any(self._shells)
        shell.freeze()
        self._later(1.1, 1.6, lambda: self._loop.after(self._scenario.thresholds.offline_after_s, shell.thaw))

    def _start_rough(self) -> None:
        self._jetstream_gap()
        self._loop.after(0.15, lambda: self._kill(self._shells[0]))

    def _strike(self) -> None:
        if self._is_over:
            return
        self.count += 1
        self._do[self._random.choice(self._scenario.faults)]()
        self.plan()

    def _any(self, nodes: Sequence[N]) -> N:
        return self._random.choice(nodes)

    def _later(self, least_s: float, most_s: float, action: Callable[[], None]) -> None:
        self._loop.after(self._random.uniform(least_s, most_s), action)

    def _kill(self, node: Node) -> None:
        node.kill()
        self._later(0.1, 8.0, lambda: self.revive(node))

    def revive(self, node: Node) -> None:
        if not node.is_alive:
            node.start()

    def _freeze(self, node: Node) -> None:
        """For a moment, or for longer than anybody may be silent."""
        if not node.is_frozen:
            node.freeze()
            least_s, most_s = self._random.choice(((0.5, 6.0), (9.0, 25.0)))
            self._later(least_s, most_s, node.thaw)

    def _partition(self, node: Node) -> None:
        if not node.link.is_black:
            node.link.partition(self._random.uniform(0.5, 15.0))

    def _stop_orchestrator(self) -> None:
        shell = self._any(self._shells)
        if shell.is_alive and not shell.is_frozen:
            shell.stop()
            self._later(0.1, 8.0, lambda: self.revive(shell))

    def _kill_agent(self) -> None:
        agent = self._any(self._agents)
        agent.kill()
        if self._loop.chance(0.15):
            agent.lose_disk()
        if self._loop.chance(0.8):
            self._later(0.05, 15.0, lambda: self.revive(agent))

    def _drain_agent(self) -> None:
        agent = self._any(self._agents)
        agent.drain()
        self._later(5.0, 20.0, lambda: self.revive(agent))

    def _stop_agent(self) -> None:
        """A deploy that does not wait."""
        agent = self._any(self._agents)
        agent.stop_now()
        self._later(0.5, 8.0, lambda: self.revive(agent))

    def _crash_server(self) -> None:
        if self._server.is_up:
            self._server.crash()
            self._later(0.1, 5.0, self._server.restart)

    def _freeze_server(self) -> None:
        if self._server.is_up and not self._server.is_frozen:
            self._server.freeze()
            self._later(0.2, 4.0, self._server.thaw)

    def _jetstream_gap(self) -> None:
        self._server.has_jetstream = False
        self._server.troubled_at = self._loop.now
        self._later(0.2, 6.0, self._jetstream_back)

    def _jetstream_back(self) -> None:
        self._server.troubled_at = self._loop.now
        self._server.has_jetstream = True
        self._server.pump_all()

    def _change_router(self) -> None:
        self._router.mode = self._random.choice(MODES)

    def _hostile_entry(self) -> None:
        """A lie about a random task, or about one that is the liar's own."""
        liar = self._agents[-1]
        entries = [m for m in self._server.ledger.messages.values() if ".ledger." in m.subject]
        if not entries:
            return
        message = self._random.choice(entries[-6:])
        epoch = self._random.choice((message.seq, message.data.epoch, message.seq + 1))
        attempt = getattr(message.data, "attempt", 1)
        liar.lie(message.data.task_id, attempt, epoch)

    def _jump_clock(self) -> None:
        nodes: list[Node] = [*self._shells, *self._agents]
        node = self._any(nodes)
        node.clock.skew_s = self._random.choice((0.0, DAY_S, -DAY_S, 30.0, -30.0, 3.0))
        self._loop.trace(node.name, f"its clock is wrong by {node.clock.skew_s} s")

    def _fill_ledger(self) -> None:
        """Nearly full for a while, as every orchestrator that is there sees."""
        self._see_ledger(0.9)
        self._later(0.5, 20.0, lambda: self._see_ledger(0.1))

    def _see_ledger(self, used: float) -> None:
        for shell in self._shells:
            if shell.is_alive and not shell.is_frozen:
                shell.post(events.LedgerSeen(used))

    def mend(self) -> None:
        """The faults stop: all is up again but perhaps some agents and the router; an agent may die yet."""
        self._loop.trace("faults", "are over")
        self._is_over = True
        self._server.weather.clear()
        self._server.thaw()
        self._server.restart()
        self._jetstream_back()
        self._router.mode = "sound"
        self._client.is_calm = True
        for agent in self._agents:
            agent.profile.temper.calm_down()
        for node in (*self._shells, *self._agents, self._client):
            node.clock.skew_s = 0.0
            node.link.heal()
        for shell in self._shells:
            shell.thaw()
            self.revive(shell)
        self._see_ledger(0.1)
        self._keep_alive(self._agents[0])
        if len(self._agents) > 1 and self._loop.chance(0.4):
            self._later(0.5, 2.0, self._agents[1].kill)

    def _keep_alive(self, agent: FakeAgent) -> None:
        """The one that can do everything is there, also if it was about to leave."""
        agent.thaw()
        self.revive(agent)
        self._loop.after(2.0, lambda: self._keep_alive(agent))
