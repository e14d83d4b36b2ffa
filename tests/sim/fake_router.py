"""A router in virtual time: sound, slow, mute, away, or talking nonsense."""

from __future__ import annotations

from math import nan

from outrider.broker.routing import Choice, RouteAgent, RouteAnswer, RouteReason, RouteRequest, RouteTask
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply
from tests.sim.wire import Node

MODES = ("sound", "sound", "sound", "slow", "mute", "lying", "partial", "empty")


class FakeRouter(Node):
    """One router process. `mode` says how it behaves now."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__(server.loop, server.new_link(), "router")
        self._server = server
        self.mode = "sound"
        self.predicts = (1.0, 2.5)
        """p50 and p90 of everything."""

    def start(self) -> None:
        super().start()
        self._server.subscribe(self.link, SUBJECTS.route, self._asked, "router")

    def _asked(self, _: str, request: RouteRequest, reply: Reply | None) -> None:
        if self.mode == "mute" or reply is None:
            return
        slow_s = self.loop.random.uniform(0.1, 1.0) if self.mode == "slow" else 0.001
        choices = self._choices(request)
        answer = RouteAnswer(choices, "sim", held=self._held(request, choices))
        self.after(slow_s, lambda: self.link.send(lambda: reply(answer)))

    def _choices(self, request: RouteRequest) -> tuple[Choice, ...]:
        if self.mode == "empty":
            return ()
        taken: dict[str, int] = {}
        found = []
        for task in request.tasks:
            if self.mode == "partial" and self.loop.chance(0.5):
                continue
            if self.mode == "sound" and request.may_hold and self.loop.chance(0.3):
                continue
            choice = self._lie(task) if self.mode == "lying" else self._choose(task, request.agents, taken)
            if choice is not None:
                found.append(choice)
        return tuple(found)

    def _held(self, request: RouteRequest, choices: tuple[Choice, ...]) -> tuple[str, ...]:
        chosen = {choice.task_id for choice in choices}
        left = [task.task_id for task in request.tasks if task.task_id not in chosen]
        return tuple(left) if request.may_hold and self.mode in ("sound", "partial") else ()

    def _choose(
        self, task: RouteTask, agents: tuple[RouteAgent, ...], taken: dict[str, int]
    ) -> Choice | None:
        among = range(len(agents)) if task.among is None else task.among
        free = [agents[i] for i in among if agents[i].free > taken.get(agents[i].agent_id, 0)]
        if not free:
            return None
        agent_id = self.loop.random.choice(free).agent_id
        taken[agent_id] = taken.get(agent_id, 0) + 1
        return Choice(task.task_id, agent_id, *self.predicts, self.predicts[0], RouteReason.MODEL)

    def _lie(self, task: RouteTask) -> Choice:
        random = self.loop.random
        agent_id = random.choice(("nobody", "a0", "a1", "a2"))
        task_id = random.choice((task.task_id, task.task_id, "t0", "t99"))
        p50_s = random.choice((1.0, -1.0, nan, 9.0))
        return Choice(task_id, agent_id, p50_s, 2.5, 1.0, RouteReason.EXPLORE)
