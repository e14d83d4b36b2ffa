"""A fleet in virtual time: tasks arrive, wait for a free slot, run; nothing sleeps and nothing is random.

Pure. Serves the seed data and the tests that compare policies on the product's own prediction and decision.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import RouteAgent, RouteAnswer, RouteRequest, RouteTask

Service = Callable[[RouteTask, RouteAgent], float]
"""Seconds that the task takes on the agent with this many attempts running beside (`in_flight`)."""
Router = Callable[[RouteRequest, float], RouteAnswer]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task and when it arrives, in seconds."""

    at: float
    kind: str
    facts: TaskFacts


@dataclass(frozen=True, slots=True)
class Ended:
    """One finished attempt: what was known at its start, and what became known at its end."""

    task_id: str
    agent: RouteAgent
    kind: str
    facts: TaskFacts
    p50_s: float
    p90_s: float
    arrived_at: float
    began_at: float
    service_s: float

    @property
    def ended_at(self) -> float:
        return self.began_at + self.service_s

    @property
    def sojourn_s(self) -> float:
        return self.ended_at - self.arrived_at


@dataclass(slots=True)
class VirtualFleet:
    """Agents (id to slots) under a router. Observers are told of starts and ends in the order of time."""

    slots: dict[str, int]
    service: Service
    router: Router
    on_start: Callable[[Ended], None] = lambda _: None
    on_end: Callable[[Ended], None] = lambda _: None
    _in_flight: dict[str, int] = field(default_factory=dict)
    _running: list[tuple[float, int, Ended]] = field(default_factory=list)
    _waiting: deque[tuple[str, Arrival]] = field(default_factory=deque)
    _started: int = 0

    def run(self, arrivals: Sequence[Arrival], most_at_once: int = 64) -> list[Ended]:
        """All tasks, in the order in which they end."""
        self._in_flight = dict.fromkeys(self.slots, 0)
        done: list[Ended] = []
        ahead = deque((f"t{number}", arrival) for number, arrival in enumerate(arrivals))
        while ahead or self._running:
            if ahead and (not self._running or ahead[0][1].at <= self._running[0][0]):
                now = ahead[0][1].at
                self._waiting.append(ahead.popleft())
            else:
                now, _, ended = heapq.heappop(self._running)
                self._in_flight[ended.agent.agent_id] -= 1
                self.on_end(ended)
                done.append(ended)
            self._route(now, most_at_once)
        return done

    def _route(self, now: float, most: int) -> None:
        agents = tuple(
            RouteAgent(name, slots, self._in_flight[name])
            for name, slots in self.slots.items()
            if self._in_flight[name] < slots
        )
        if not agents or not self._waiting:
            return
        free = sum(agent.free for agent in agents)
        batch = dict(list(self._waiting)[: min(free, most)])
        tasks = tuple(RouteTask(task_id, a.kind, 5, 1, a.facts) for task_id, a in batch.items())
        answer = self.router(RouteRequest(tasks, agents), now)
        by_id = {task.task_id: task for task in tasks}
        for choice in answer.choices:
            self._start(by_id[choice.task_id], choice.agent_id, (choice.p50_s, choice.p90_s), batch, now)
        chosen = {choice.task_id for choice in answer.choices}
        self._waiting = deque(item for item in self._waiting if item[0] not in chosen)

    def _start(
        self,
        task: RouteTask,
        name: str,
        predicted: tuple[float, float],
        batch: dict[str, Arrival],
        now: float,
    ) -> None:
        agent = RouteAgent(name, self.slots[name], self._in_flight[name])
        service_s = self.service(task, agent)
        ended = Ended(
            task.task_id, agent, task.kind, task.facts, *predicted, batch[task.task_id].at, now, service_s
        )
        self._in_flight[name] += 1
        self._started += 1
        self.on_start(ended)
        heapq.heappush(self._running, (ended.ended_at, self._started, ended))
