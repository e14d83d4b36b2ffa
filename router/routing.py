"""From a RouteRequest to a RouteAnswer: rules most slots out, asks the forest about the rest, explains.

Pure: statistics, predictor, settings and time come from the caller; what is random is drawn from task ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outrider.broker.errors import InvalidTask
from outrider.broker.facts import TaskFacts
from outrider.broker.messages import Candidate, Choice, RouteAnswer, RouteReason, RouteRequest, RouteTask
from outrider.broker.subjects import check_name
from outrider.router.config import RouterSettings
from outrider.router.decision import TIE_BREAK, Slots, Taken, choose_jointly, draw, draws, hash_of
from outrider.router.predictor import (
    Grid,
    KindView,
    Predictor,
    fleet_view,
    kind_view,
    quick_p50,
    waiting,
)
from outrider.router.statistics import Statistics

Indexes = NDArray[np.intp]
Numbers = NDArray[np.float64]

MOST_TASKS = 1024
MOST_AGENTS = 20_000
TOGETHER = 32
"""Tasks chosen for jointly; a larger batch is taken in turns, each seeing the load of those before."""
MARGIN = 10
"""Slots beyond the number of tasks in a turn that stay in the running after the quick estimate."""
BEST = 5
WELL_KNOWN = 3
"""Observations from which an agent is no longer explored for a kind."""

Door = tuple[str, tuple[int, ...] | None]
"""What decides who may take a task: its kind and the agents it may go to."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Tasks that no prediction can tell apart."""

    door: Door
    facts: TaskFacts


def check(request: RouteRequest) -> RouteRequest:
    """The request itself when it makes sense. Raises InvalidTask or InvalidName."""
    tasks, agents = request.tasks, request.agents
    if len(tasks) > MOST_TASKS or len(agents) > MOST_AGENTS:
        raise InvalidTask(
            f"{len(tasks)} tasks with {len(agents)} agents are too many for one request",
            hint=f"send at most {MOST_TASKS} tasks and {MOST_AGENTS} agents",
        )
    _demand_unique([task.task_id for task in tasks], "task")
    _demand_unique([agent.agent_id for agent in agents], "agent")
    for task in tasks:
        if any(not 0 <= index < len(agents) for index in task.among or ()):
            raise InvalidTask(
                f"task {task.task_id}: among names an agent beyond the {len(agents)} in the request"
            )
    for agent in agents:
        if not (0 <= agent.slots <= 1_000_000 and 0 <= agent.in_flight <= 1_000_000):
            raise InvalidTask(f"agent {agent.agent_id}: slots and in_flight must be 0 to 1000000")
    return request


def _demand_unique(names: Sequence[str], what: str) -> None:
    for name in names:
        check_name(name, f"{what} id")
    if len(set(names)) != len(names):
        raise InvalidTask(f"the request names the same {what} twice")


def route(
    request: RouteRequest, statistics: Statistics, predictor: Predictor, settings: RouterSettings, now: float
) -> RouteAnswer:
    """A choice for each task that some allowed agent has a free slot for; urgent tasks choose first.

    Raises InvalidTask or InvalidName for a request that makes no sense.
    """
    check(request)
    batch = _Batch(request, statistics, predictor, settings, now)
    for priority in sorted({task.priority for task in request.tasks}):
        batch.place([task for task in request.tasks if task.priority == priority])
    chosen = [batch.choices[task.task_id] for task in request.tasks if task.task_id in batch.choices]
    return RouteAnswer(tuple(chosen), "random" if settings.policy == "random" else predictor.version)


class _Batch:
    """One request being answered: the load grows with each choice."""

    def __init__(
        self,
        request: RouteRequest,
        statistics: Statistics,
        predictor: Predictor,
        settings: RouterSettings,
        now: float,
    ) -> None:
        self.choices: dict[str, Choice] = {}
        self.agents = request.agents
        self.statistics = statistics
        self.predictor = predictor
        self.settings = settings
        self.fleet = fleet_view(request.agents, statistics, now)
        self.hashes = np.array([hash_of(a.agent_id) for a in request.agents], np.uint64)
        self._views: dict[str, KindView] = {}
        self._allowed: dict[Door, NDArray[np.bool_]] = {}

    def place(self, tasks: Sequence[RouteTask]) -> None:
        pending = list(tasks)
        while pending and self.free().any():
            turn, pending = pending[:TOGETHER], pending[TOGETHER:]
            left = [task for task in turn if not self.goes_nowhere(task)]
            if left:
                before = len(self.choices)
                _Turn(self, left).choose()
                missed = [task for task in left if task.task_id not in self.choices]
                pending = (missed if len(self.choices) > before else []) + pending

    def free(self) -> Indexes:
        return np.maximum(self.fleet.slots - self.fleet.in_flight, 0).astype(np.intp)

    def goes_nowhere(self, task: RouteTask) -> bool:
        return not (self.allowed_for(_door(task)) & (self.free() > 0)).any()

    def allowed_for(self, door: Door) -> NDArray[np.bool_]:
        if door not in self._allowed:
            mask = np.full(len(self.agents), door[1] is None)
            if door[1]:
                mask[list(door[1])] = True
            self._allowed[door] = mask
        return self._allowed[door]

    def view(self, kind: str) -> KindView:
        if kind not in self._views:
            self._views[kind] = kind_view(kind, self.fleet, self.statistics)
        return self._views[kind]


def _door(task: RouteTask) -> Door:
    return (task.kind, task.among)


class _Turn:
    """Up to TOGETHER tasks that are chosen for jointly."""

    def __init__(self, batch: _Batch, tasks: Sequence[RouteTask]) -> None:
        self._batch = batch
        self._tasks = tasks
        self._free = batch.free()
        groups: dict[_Group, int] = {}
        self._group_of = [groups.setdefault(_Group(_door(task), task.facts), len(groups)) for task in tasks]
        self._groups = list(groups)
        self._explorers = self._draw_explorers()
        self._agent, self._extra, asked = self._shortlist()
        self._finish = np.full((len(groups), len(self._agent)), np.inf)
        self._wait = np.zeros_like(self._finish)
        self._grids: dict[int, tuple[Grid, int, Indexes]] = {}
        for kind, columns in asked.items():
            self._predict(kind, columns)

    def _draw_explorers(self) -> dict[int, int]:
        """Tasks of the exploration budget, each with the hardly known agent it should try."""
        rate = self._batch.settings.explore_rate
        if self._batch.settings.policy == "random":
            return {}
        found = {}
        for number, task in enumerate(self._tasks):
            if draw(task.task_id, "explore") < rate:
                able = self._batch.allowed_for(_door(task)) & (self._free > 0)
                unknown = np.flatnonzero(able & (self._batch.view(task.kind).count < WELL_KNOWN))
                if len(unknown) and np.count_nonzero(able) > 1:
                    order = draws(task.task_id, self._batch.hashes[unknown])
                    found[number] = int(unknown[order.argmin()])
        return found

    def _shortlist(self) -> tuple[Indexes, Indexes, dict[str, Indexes]]:
        """The free slots worth asking the forest about: agents, places, and which of them for each kind."""
        places = np.minimum(self._free, len(self._tasks))
        agent = np.repeat(np.arange(len(places)), places)
        extra = np.arange(len(agent)) - np.repeat(np.cumsum(places) - places, places)
        wanted = len(self._tasks) + MARGIN
        explored = np.isin(agent, list(self._explorers.values())) & (extra == 0)
        asked: dict[str, NDArray[np.bool_]] = {}
        for door in dict.fromkeys(_door(task) for task in self._tasks):
            worth = self._batch.allowed_for(door)[agent]
            if wanted < len(agent):
                quick = np.where(worth, self._quick(door[0], agent, extra), np.inf)
                worth[np.argpartition(quick, wanted)[wanted:]] = False
            asked[door[0]] = asked.get(door[0], explored) | worth
        kept = np.logical_or.reduce(list(asked.values()))
        return agent[kept], extra[kept], {kind: np.flatnonzero(mask[kept]) for kind, mask in asked.items()}

    def _quick(self, kind: str, agent: Indexes, extra: Indexes) -> Numbers:
        toss = draws(self._tasks[0].task_id, self._batch.hashes[agent])
        if self._batch.settings.policy == "random":
            return toss + extra
        view, fleet = self._batch.view(kind), self._batch.fleet
        p50 = quick_p50(view, fleet, agent, extra)
        finish: Numbers = p50 + waiting(view, fleet, agent, extra, p50)
        return finish * (1.0 + TIE_BREAK * toss)

    def _predict(self, kind: str, columns: Indexes) -> None:
        batch, agent, extra = self._batch, self._agent[columns], self._extra[columns]
        view = batch.view(kind)
        rows = [row for row, group in enumerate(self._groups) if group.door[0] == kind]
        facts = [self._groups[row].facts for row in rows]
        grid = batch.predictor.grid(facts, view, batch.fleet, agent, extra)
        for number, row in enumerate(rows):
            allowed = batch.allowed_for(self._groups[row].door)[agent]
            wait = waiting(view, batch.fleet, agent, extra, grid.p50[number])
            self._wait[row, columns] = wait
            self._finish[row, columns] = np.where(allowed, wait + grid.p50[number], np.inf)
            self._grids[row] = (grid, number, columns)

    def choose(self) -> None:
        slots = Slots(self._agent, self._extra, self._batch.hashes[self._agent])
        costs = self._finish
        if self._batch.settings.policy == "random":
            costs = np.where(np.isfinite(costs), 1.0, np.inf)
        explored = {number: self._explore(number, agent, slots) for number, agent in self._explorers.items()}
        explored = {number: taken for number, taken in explored.items() if taken.slot >= 0}
        rest = [number for number in range(len(self._tasks)) if number not in explored]
        group_of, ids = [self._group_of[n] for n in rest], [self._tasks[n].task_id for n in rest]
        for number, taken in zip(rest, choose_jointly(costs, group_of, ids, slots), strict=True):
            if taken.slot >= 0:
                self._record(number, taken, explored=self._batch.settings.policy == "random")
        for number, taken in explored.items():
            self._record(number, taken, explored=True)

    def _explore(self, number: int, agent: int, slots: Slots) -> Taken:
        at = np.flatnonzero((self._agent == agent) & slots.open & (self._extra == 0))
        if not len(at):
            return Taken(-1, self._finish[self._group_of[number]])
        costs = np.where(slots.open, self._finish[self._group_of[number]], np.inf)
        slots.take(int(at[0]))
        return Taken(int(at[0]), costs)

    def _record(self, number: int, taken: Taken, explored: bool) -> None:
        task, row = self._tasks[number], self._group_of[number]
        candidates = self._candidates(row, taken)
        mine = next(c for c in candidates if c.agent_id == self._id(taken.slot))
        reason = self._reason(task, taken.slot, explored)
        self._batch.choices[task.task_id] = Choice(
            task.task_id, mine.agent_id, mine.p50_s, mine.p90_s, mine.finish_s, reason, candidates
        )
        self._batch.fleet.in_flight[self._agent[taken.slot]] += 1

    def _id(self, slot: int) -> str:
        return str(self._batch.agents[self._agent[slot]].agent_id)

    def _candidates(self, row: int, taken: Taken) -> tuple[Candidate, ...]:
        """The best few at the time of the choice by expected finish, the chosen one always among them."""
        able = np.flatnonzero(np.isfinite(taken.costs))
        ranked = able[np.argsort(self._finish[row, able], kind="stable")][:BEST].tolist()
        if taken.slot not in ranked:
            ranked = [*ranked[: BEST - 1], taken.slot]
        grid, number, columns = self._grids[row]
        inside = np.searchsorted(columns, ranked)
        p90 = grid.p90(number, inside).tolist()
        p50 = grid.p50[number, inside].tolist()
        waits = self._wait[row, ranked].tolist()
        return tuple(
            Candidate(self._id(slot), wait, mid, high, wait + mid)
            for slot, wait, mid, high in zip(ranked, waits, p50, p90, strict=True)
        )

    def _reason(self, task: RouteTask, slot: int, explored: bool) -> RouteReason:
        able = self._batch.allowed_for(_door(task)) & (self._free > 0)
        if np.count_nonzero(able) == 1:
            return RouteReason.ONLY_CANDIDATE
        if explored:
            return RouteReason.EXPLORE
        agent = self._agent[slot]
        seen = self._batch.fleet.known[agent] or self._batch.view(task.kind).count[agent]
        return RouteReason.MODEL if seen else RouteReason.COLD
