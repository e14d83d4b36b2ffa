"""Discrete events on a virtual clock: tasks arrive, a policy places them, agents work through their queues.

Pure. Tells a policy only what a router would be told: arrivals, and the end of attempts it placed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from outrider.router.evaluation.world import Outcome, SimAgent, SimTask, World

MOST_ATTEMPTS = 6
FIRST_PAUSE_S = 0.5
"""Pause before a second attempt; doubles with each further one."""
RECHECK_S = 1.0
"""A policy that left a task waiting is asked again after so long, even if nothing happened."""


@dataclass(slots=True)
class AgentNow:
    """What a router knows of an agent: its slots and how many tasks it was given that have not ended."""

    name: str
    slots: int
    in_flight: int = 0
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class Placement:
    """A task given to an agent, with the p50 and p90 service seconds the policy predicted (0: none)."""

    task: int
    agent: int
    p50_s: float = 0.0
    p90_s: float = 0.0


class Policy(Protocol):
    """Chooses. `place` is asked after every event and may leave tasks waiting."""

    name: str

    def place(
        self, now: float, waiting: Sequence[int], tasks: Sequence[SimTask], agents: Sequence[AgentNow]
    ) -> Sequence[Placement]:
        """Which of the waiting tasks go where; agents that are not there must not be chosen."""

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        """The task was given to the agent, which had this many others."""

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        """The attempt ended after so many seconds of service."""


@dataclass(frozen=True, slots=True)
class Finished:
    """One task's way: how long it took in all, where it ended, and what was predicted of its last attempt."""

    task: int
    agent: int
    sojourn_s: float
    service_s: float
    p50_s: float
    p90_s: float
    attempts: int
    failed_s: float
    """Seconds of service that ended in failure."""
    failures: int
    succeeded: bool
    is_correct: bool


@dataclass(slots=True)
class _Attempt:
    chosen: Placement
    outcome: Outcome | None = None
    began_at: float = 0.0
    is_gone: bool = False


@dataclass(slots=True)
class _Story:
    attempts: int = 0
    failed_s: float = 0.0
    failures: int = 0


ARRIVES, ENDS, AGAIN, JOINS, LEAVES, RECHECK = range(6)


class Simulation:
    """One policy in one world."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self.agents = [AgentNow(agent.name, agent.slots, 0, agent.joins_at <= 0.0) for agent in world.agents]
        self._queues: list[deque[_Attempt]] = [deque() for _ in world.agents]
        self._running: list[list[_Attempt]] = [[] for _ in world.agents]
        self._stories = [_Story() for _ in world.tasks]
        self._events: list[tuple[float, int, int, object]] = []
        self._number = 0
        self._recheck_at = -inf
        self._waiting: list[int] = []
        self.finished: list[Finished] = []

    def run(self) -> list[Finished]:
        """Until every task ended; the order is that of their ends."""
        for number, task in enumerate(self._world.tasks):
            self._push(task.at, ARRIVES, number)
        for number, agent in enumerate(self._world.agents):
            self._plan_presence(number, agent)
        now = 0.0
        while self._events:
            now, _, what, about = heapq.heappop(self._events)
            self._happen(now, what, about)
            if self._waiting:
                self._place(now)
        for left in self._waiting:
            self._close(left, -1, now, 0.0, None, Outcome(0.0, False, False))
        return self.finished

    def _plan_presence(self, number: int, agent: SimAgent) -> None:
        if agent.joins_at > 0:
            self._push(agent.joins_at, JOINS, number)
        if agent.leaves_at < inf:
            self._push(agent.leaves_at, LEAVES, number)

    def _push(self, at: float, what: int, about: object) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, what, about))

    def _happen(self, now: float, what: int, about: object) -> None:
        if isinstance(about, _Attempt):
            if not about.is_gone:
                self._end(now, about)
        elif isinstance(about, int):
            if what in (ARRIVES, AGAIN):
                self._waiting.append(about)
            elif what != RECHECK:
                self.agents[about].is_there = what == JOINS
                if what == LEAVES:
                    self._lose_all(now, about)

    def _place(self, now: float) -> None:
        taken = set()
        for chosen in self._policy.place(now, self._waiting, self._world.tasks, self.agents):
            taken.add(chosen.task)
            agent = self.agents[chosen.agent]
            task = self._world.tasks[chosen.task]
            self._policy.placed(now, task, chosen.agent, agent.in_flight, chosen)
            agent.in_flight += 1
            self._stories[chosen.task].attempts += 1
            attempt = _Attempt(chosen)
            if len(self._running[chosen.agent]) < agent.slots:
                self._start(now, attempt)
            else:
                self._queues[chosen.agent].append(attempt)
        self._waiting = [task for task in self._waiting if task not in taken]
        if self._waiting and self._recheck_at <= now and self._events:
            self._recheck_at = now + RECHECK_S
            self._push(self._recheck_at, RECHECK, -1)

    def _start(self, now: float, attempt: _Attempt) -> None:
        chosen = attempt.chosen
        running = self._running[chosen.agent]
        attempt.began_at = now
        number = self._stories[chosen.task].attempts
        attempt.outcome = self._world.serve(chosen.task, chosen.agent, number, len(running), now)
        running.append(attempt)
        self._push(now + attempt.outcome.seconds, ENDS, attempt)

    def _end(self, now: float, attempt: _Attempt) -> None:
        chosen, outcome = attempt.chosen, attempt.outcome
        assert outcome is not None  # noqa: S101 - only started attempts end
        self._running[chosen.agent].remove(attempt)
        self.agents[chosen.agent].in_flight -= 1
        if self._queues[chosen.agent]:
            self._start(now, self._queues[chosen.agent].popleft())
        self._report(now, attempt, outcome, now - attempt.began_at)

    def _report(self, now: float, attempt: _Attempt, outcome: Outcome, service_s: float) -> None:
        chosen = attempt.chosen
        task, story = self._world.tasks[chosen.task], self._stories[chosen.task]
        self._policy.ended(now, task, chosen.agent, service_s, outcome.succeeds)
        if outcome.succeeds:
            self._close(chosen.task, chosen.agent, now, service_s, chosen, outcome)
            return
        story.failures += 1
        story.failed_s += service_s
        if story.attempts >= MOST_ATTEMPTS:
            self._close(chosen.task, chosen.agent, now, service_s, chosen, outcome)
        else:
            self._push(now + FIRST_PAUSE_S * 2.0 ** (story.attempts - 1), AGAIN, chosen.task)

    def _lose_all(self, now: float, agent: int) -> None:
        """What ran or waited on an agent that left is lost; only what ran counts as an attempt."""
        lost, waiting = self._running[agent], list(self._queues[agent])
        self._running[agent] = []
        self._queues[agent].clear()
        self.agents[agent].in_flight = 0
        for attempt in lost:
            attempt.is_gone = True
            self._report(now, attempt, Outcome(0.0, False, False), now - attempt.began_at)
        for attempt in waiting:
            self._stories[attempt.chosen.task].attempts -= 1
            self._policy.ended(now, self._world.tasks[attempt.chosen.task], agent, 0.0, False)
            self._waiting.append(attempt.chosen.task)

    def _close(
        self, task: int, agent: int, now: float, service_s: float, chosen: Placement | None, outcome: Outcome
    ) -> None:
        story = self._stories[task]
        self.finished.append(
            Finished(
                task,
                agent,
                now - self._world.tasks[task].at,
                service_s,
                chosen.p50_s if chosen else 0.0,
                chosen.p90_s if chosen else 0.0,
                story.attempts,
                story.failed_s,
                story.failures,
                outcome.succeeds,
                outcome.succeeds and outcome.is_correct,
            )
        )
