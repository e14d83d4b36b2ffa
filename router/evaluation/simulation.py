"""Discrete events on a virtual clock: tasks arrive, a policy places them, agents work through their queues.

Pure. Tells a policy only what a router would be told: arrivals, and the end of attempts it placed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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
    failed_s: float
    """Seconds of service that ended in failure."""
    failures: int
    hedged: int
    """Second attempts beside a slow one."""
    cancelled_s: float
    """Seconds of service of attempts that another one made needless."""
    succeeded: bool
    is_correct: bool


@dataclass(slots=True, eq=False)
class SimAttempt:
    """A task on an agent: in its queue until there is an outcome, then in a slot."""

    chosen: Placement
    outcome: Outcome | None = None
    began_at: float = 0.0
    is_gone: bool = False


@dataclass(slots=True)
class _Story:
    tries: int = 0
    attempts: int = 0
    """Two in a try that was hedged."""
    failed_s: float = 0.0
    failures: int = 0
    hedged: int = 0
    cancelled_s: float = 0.0
    live: list[SimAttempt] = field(default_factory=list)


class Simulation:
    """One policy in one world."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._policy = policy
        self.agents = [AgentNow(agent.name, agent.slots, 0, agent.joins_at <= 0.0) for agent in world.agents]
        self._queues: list[deque[SimAttempt]] = [deque() for _ in world.agents]
        self._running: list[list[SimAttempt]] = [[] for _ in world.agents]
        self._stories = [_Story() for _ in world.tasks]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = 0
        self._recheck_at = -inf
        self._waiting: list[int] = []
        self.finished: list[Finished] = []

    def run(self) -> list[Finished]:
        """Until every task ended; the order is that of their ends."""
        for number, task in enumerate(self._world.tasks):
            self._at(task.at, partial(self._wait, number))
        for number, agent in enumerate(self._world.agents):
            self._plan_presence(number, agent)
        now = 0.0
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
            if self._waiting:
                self._place(now)
        for left in self._waiting:
            self._close(left, -1, now, 0.0, None, Outcome(0.0, False, False))
        return self.finished

    def _plan_presence(self, number: int, agent: SimAgent) -> None:
        if agent.joins_at > 0:
            self._at(agent.joins_at, partial(self._join, number))
        if agent.leaves_at < inf:
            self._at(agent.leaves_at, partial(self._leave, number))

    def _at(self, at: float, happen: Callable[[float], None]) -> None:
        """Events of the same instant happen in the order in which they were planned."""
        self._number += 1
        heapq.heappush(self._events, (at, self._number, happen))

    def _wait(self, task: int, _now: float) -> None:
        self._waiting.append(task)

    def _join(self, agent: int, _now: float) -> None:
        self.agents[agent].is_there = True

    def _leave(self, agent: int, now: float) -> None:
        self.agents[agent].is_there = False
        self._lose_all(now, agent)

    def _look_again(self, _now: float) -> None:
        """What waits is placed after every event."""

    def _place(self, now: float) -> None:
        taken = set()
        for chosen in self._policy.place(now, self._waiting, self._world.tasks, self.agents):
            taken.add(chosen.task)
            self._assign(now, chosen)
        self._waiting = [task for task in self._waiting if task not in taken]
        if self._waiting and self._recheck_at <= now and self._events:
            self._recheck_at = now + RECHECK_S
            self._at(self._recheck_at, self._look_again)

    def _assign(self, now: float, chosen: Placement) -> SimAttempt:
        """A new try of the task begins."""
        in_flight = self.agents[chosen.agent].in_flight
        self._policy.placed(now, self._world.tasks[chosen.task], chosen.agent, in_flight, chosen)
        self._stories[chosen.task].tries += 1
        return self._give(now, chosen)

    def _give(self, now: float, chosen: Placement) -> SimAttempt:
        agent, story, attempt = self.agents[chosen.agent], self._stories[chosen.task], SimAttempt(chosen)
        agent.in_flight += 1
        story.attempts += 1
        story.live.append(attempt)
        if len(self._running[chosen.agent]) < agent.slots:
            self._start(now, attempt)
        else:
            self._queues[chosen.agent].append(attempt)
        return attempt

    def _start(self, now: float, attempt: SimAttempt) -> None:
        chosen = attempt.chosen
        running = self._running[chosen.agent]
        attempt.began_at = now
        number = self._stories[chosen.task].attempts
        attempt.outcome = self._world.serve(chosen.task, chosen.agent, number, len(running), now)
        running.append(attempt)
        self._at(now + attempt.outcome.seconds, partial(self._end, attempt))

    def _end(self, attempt: SimAttempt, now: float) -> None:
        if attempt.is_gone:
            return
        assert attempt.outcome is not None  # noqa: S101 - only started attempts end
        self._release(now, attempt)
        self._report(now, attempt, attempt.outcome, now - attempt.began_at)

    def _release(self, now: float, attempt: SimAttempt) -> None:
        """Its slot is free, for the next in the agent's queue."""
        agent = attempt.chosen.agent
        self._running[agent].remove(attempt)
        self.agents[agent].in_flight -= 1
        if self._queues[agent]:
            self._start(now, self._queues[agent].popleft())

    def _report(self, now: float, attempt: SimAttempt, outcome: Outcome, service_s: float) -> None:
        chosen = attempt.chosen
        task, story = self._world.tasks[chosen.task], self._stories[chosen.task]
        story.live.remove(attempt)
        self._policy.ended(now, task, chosen.agent, service_s, outcome.succeeds)
        if not outcome.succeeds:
            story.failures += 1
            story.failed_s += service_s
        if outcome.succeeds or (story.tries >= MOST_ATTEMPTS and not story.live):
            self._close(chosen.task, chosen.agent, now, service_s, chosen, outcome)
        elif not story.live:
            self._at(now + FIRST_PAUSE_S * 2.0 ** (story.tries - 1), partial(self._wait, chosen.task))

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
            story = self._stories[attempt.chosen.task]
            story.tries, story.attempts = story.tries - 1, story.attempts - 1
            story.live.remove(attempt)
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
                story.failed_s,
                story.failures,
                story.hedged,
                story.cancelled_s,
                outcome.succeeds,
                outcome.succeeds and outcome.is_correct,
            )
        )
