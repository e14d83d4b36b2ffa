"""One turn of a batch: rules most slots out quickly, asks the forest about the rest, chooses and explains.

Pure: the batch holds what is known and the load as it grows with each choice.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Candidate, Choice, RouteReason, RouteRequest, RouteTask
from outrider.router.config import RouterSettings
from outrider.router.decision import TIE_BREAK, Slots, Taken, choose_jointly, draw, draws, hash_of
from outrider.router.predictor import (
    Grid,
    KindView,
    Predictor,
    benefit_of_doubt,
    fleet_view,
    kind_view,
    quick_p50,
    seconds_until_free,
    waiting,
)
from outrider.router.statistics import Statistics

Indexes = NDArray[np.intp]
Numbers = NDArray[np.float64]

MARGIN = 10
"""Slots beyond the number of tasks in a turn that stay in the running after the quick estimate."""
BEST = 5
FORGOTTEN = 0.05
"""Retries that old failures of an agent may still be worth when it is explored again."""
WELL_KNOWN = 1
"""Observations, of any kind, from which an agent is no longer explored: one moves what is believed far."""


def is_beyond(finish_s: float, best_s: float) -> bool:
    """Whether a place was taken although another was expected to finish sooner: for the benefit of doubt."""
    return finish_s > best_s * (1.0 + 2.0 * TIE_BREAK)


Door = tuple[str, tuple[int, ...] | None]
"""What decides who may take a task: its kind and the agents it may go to."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that no prediction can tell apart."""

    door: Door
    facts: TaskFacts
    is_first: bool
    """Of its attempts: later ones try nothing."""


@dataclass(frozen=True, slots=True)
class _Placed:
    """A task that got a slot, and the best slots there were for it, the chosen one among them."""

    task: RouteTask
    row: int
    slot: int
    ranked: list[int]
    explored: bool


class Batch:
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
        self.held: dict[str, None] = {}
        """Tasks that had better wait for an agent that is full now."""
        self.may_hold = request.may_hold and settings.policy != "random"
        self.agents = request.agents
        self.statistics = statistics
        self.predictor = predictor
        self.settings = settings
        self.fleet = fleet_view(request.agents, statistics, now)
        self.hashes = np.array([hash_of(a.agent_id) for a in request.agents], np.uint64)
        self._views: dict[str, KindView] = {}
        self._allowed: dict[Door, NDArray[np.bool_]] = {}

    def free(self) -> Indexes:
        return np.maximum(self.fleet.slots - self.fleet.in_flight, 0).astype(np.intp)

    def places_behind(self, doors: Iterable[Door]) -> dict[Door, int]:
        """How many agents could take a task of each door now."""
        has_room = self.free() > 0
        return {door: int(np.count_nonzero(self.allowed_for(door) & has_room)) for door in set(doors)}

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


def door_of(task: RouteTask) -> Door:
    return (task.kind, task.among)


def group_of(task: RouteTask) -> Group:
    return Group(door_of(task), task.facts, task.attempt == 1)


class Turn:
    """Up to TOGETHER tasks that are chosen for jointly."""

    def __init__(self, batch: Batch, tasks: Sequence[RouteTask]) -> None:
        self._batch = batch
        self._tasks = tasks
        self._free = batch.free()
        groups: dict[Group, int] = {}
        self._group_of = [groups.setdefault(group_of(task), len(groups)) for task in tasks]
        self._groups = list(groups)
        self._able = batch.places_behind(group.door for group in groups)
        self._explorers = self._draw_explorers()
        self._agent, self._extra, self._later, asked = self._shortlist()
        self._finish = np.full((len(groups), len(self._agent)), np.inf)
        self._costs = np.full_like(self._finish, np.inf)
        self._wait = np.zeros_like(self._finish)
        self._p50 = np.zeros_like(self._finish)
        self._grids: dict[int, tuple[Grid, int, Indexes]] = {}
        for kind, columns in asked.items():
            self._predict(kind, columns)

    def _draw_explorers(self) -> dict[int, int]:
        """Tasks of the exploration budget, each with the hardly known agent it should try."""
        rate = self._batch.settings.explore_rate
        if self._batch.settings.policy == "random":
            return {}
        unknown = {door: self._hardly_known(door) for door in self._able}
        found = {}
        for number, task in enumerate(self._tasks):
            among = unknown[door_of(task)]
            is_first = task.attempt == 1
            if len(among) and is_first and draw(task.task_id, "explore") < rate:
                order = draws(task.task_id, self._batch.hashes[among])
                found[number] = int(among[order.argmin()])
        return found

    def _hardly_known(self, door: Door) -> Indexes:
        """Agents that could take such a task, are hardly known at all, and are not the only ones.

        One that failed before it ever succeeded is known well enough: it is tried when that is forgotten.
        """
        if self._able[door] < 2:
            return np.empty(0, np.intp)
        able = self._batch.allowed_for(door) & (self._free > 0)
        seen = np.maximum(self._batch.view(door[0]).count, self._batch.fleet.count)
        fails_little = self._batch.fleet.retries < FORGOTTEN
        return np.flatnonzero(able & fails_little & (seen < WELL_KNOWN))

    def _shortlist(self) -> tuple[Indexes, Indexes, Numbers, dict[str, Indexes]]:
        """The slots worth asking about: agents, places, seconds until free, and those of each kind."""
        places = np.minimum(self._free, len(self._tasks))
        if self._batch.may_hold:
            places = np.minimum(self._free + self._batch.fleet.slots.astype(np.intp), len(self._tasks))
        agent = np.repeat(np.arange(len(places)), places)
        extra = np.arange(len(agent)) - np.repeat(np.cumsum(places) - places, places)
        later = self._seconds_until_free(places, agent, extra)
        wanted = len(self._tasks) + MARGIN
        explored = np.isin(agent, list(self._explorers.values())) & (extra == 0)
        asked: dict[str, NDArray[np.bool_]] = {}
        for door in dict.fromkeys(door_of(task) for task in self._tasks):
            worth = self._batch.allowed_for(door)[agent]
            if wanted < len(agent):
                quick = np.where(worth, self._quick(door[0], agent, extra) + later, np.inf)
                worth[np.argpartition(quick, wanted)[wanted:]] = False
            asked[door[0]] = asked.get(door[0], explored) | worth
        kept = np.logical_or.reduce(list(asked.values()))
        columns = {kind: np.flatnonzero(mask[kept]) for kind, mask in asked.items()}
        return agent[kept], extra[kept], later[kept], columns

    def _seconds_until_free(self, places: Indexes, agent: Indexes, extra: Indexes) -> Numbers:
        """For each place: 0 when it is free, else the expected seconds until it is."""
        later = np.zeros(len(agent))
        if not self._batch.may_hold:
            return later
        batch = self._batch
        view = batch.view(self._tasks[0].kind)
        for number in np.flatnonzero(places > self._free).tolist():
            beyond = (agent == number) & (extra >= self._free[number])
            count = int(beyond.sum())
            later[beyond] = seconds_until_free(batch.fleet, view, batch.statistics, number, count)
        return later

    def _quick(self, kind: str, agent: Indexes, extra: Indexes) -> Numbers:
        toss = draws(self._tasks[0].task_id, self._batch.hashes[agent])
        if self._batch.settings.policy == "random":
            return toss + extra
        view, fleet = self._batch.view(kind), self._batch.fleet
        p50 = quick_p50(view, fleet, agent, extra)
        benefit = self._benefit(view, agent, extra)
        finish: Numbers = p50 * benefit + waiting(view, fleet, agent, extra, p50)
        return finish * (1.0 + TIE_BREAK * toss)

    def _benefit(self, view: KindView, agent: Indexes, extra: Indexes) -> Numbers:
        """Of the doubt, for each place; none where nothing is explored."""
        if not self._batch.settings.explore_rate:
            return np.ones(len(agent))
        under_way = self._batch.fleet.in_flight[agent] + extra
        return benefit_of_doubt(view.doubt[agent], view.scatter[agent], under_way)

    def _predict(self, kind: str, columns: Indexes) -> None:
        batch, agent, extra = self._batch, self._agent[columns], self._extra[columns]
        view = batch.view(kind)
        rows = [row for row, group in enumerate(self._groups) if group.door[0] == kind]
        facts = [self._groups[row].facts for row in rows]
        grid = batch.predictor.grid(facts, view, batch.fleet, agent, extra)
        later, tempting = self._later[columns], self._benefit(view, agent, extra)
        for number, row in enumerate(rows):
            allowed = batch.allowed_for(self._groups[row].door)[agent]
            wait = waiting(view, batch.fleet, agent, extra, grid.p50[number]) + later
            self._wait[row, columns] = wait
            self._p50[row, columns] = grid.p50[number]
            # By the mean and not the median: what counts is the sum of all, and slow surprises are in it.
            mean = grid.p50[number] * batch.fleet.skew[agent]
            self._finish[row, columns] = np.where(allowed, wait + mean, np.inf)
            benefit = tempting if self._groups[row].is_first else 1.0
            self._costs[row, columns] = np.where(allowed, wait + mean * benefit, np.inf)
            self._grids[row] = (grid, number, columns)

    def choose(self) -> None:
        """Choose for all tasks of the turn and write the choices into the batch."""
        slots = Slots(self._agent, self._extra, self._batch.hashes[self._agent])
        is_random = self._batch.settings.policy == "random"
        costs = np.where(np.isfinite(self._costs), 1.0, np.inf) if is_random else self._costs
        explored = {number: self._explore(number, agent, slots) for number, agent in self._explorers.items()}
        explored = {number: taken for number, taken in explored.items() if taken.slot >= 0}
        rest = [number for number in range(len(self._tasks)) if number not in explored]
        group_of, ids = [self._group_of[n] for n in rest], [self._tasks[n].task_id for n in rest]
        chosen = dict(zip(rest, choose_jointly(costs, group_of, ids, slots), strict=True)) | explored
        placed = {number: taken for number, taken in chosen.items() if taken.slot >= 0}
        if placed:
            self._explain(self._placed(placed, range(len(self._tasks)) if is_random else explored))

    def _explore(self, number: int, agent: int, slots: Slots) -> Taken:
        at = np.flatnonzero((self._agent == agent) & slots.open & (self._extra == 0))
        if not len(at):
            return Taken(-1, self._costs[self._group_of[number]])
        costs = np.where(slots.open, self._costs[self._group_of[number]], np.inf)
        slots.take(int(at[0]))
        return Taken(int(at[0]), costs)

    def _placed(self, placed: Mapping[int, Taken], explored: Container[int]) -> list[_Placed]:
        rows = [self._group_of[number] for number in placed]
        open_costs = np.isfinite(np.array([taken.costs for taken in placed.values()]))
        finish = np.where(open_costs, self._finish[rows], np.inf)
        best = finish.argsort(axis=1, kind="stable")[:, :BEST]
        ends = np.take_along_axis(finish, best, axis=1).tolist()
        found = []
        for (number, taken), row, slots, at in zip(placed.items(), rows, best.tolist(), ends, strict=True):
            ranked = [slot for slot, end in zip(slots, at, strict=True) if end < np.inf]
            if taken.slot not in ranked:
                ranked = [*ranked[: BEST - 1], taken.slot]
            tried = number in explored or is_beyond(float(self._finish[row, taken.slot]), at[0])
            found.append(_Placed(self._tasks[number], row, taken.slot, ranked, tried))
        return found

    def _explain(self, placed: Sequence[_Placed]) -> None:
        p90 = self._p90(placed)
        for one in placed:
            if self._later[one.slot] > 0.0:
                self._batch.held[one.task.task_id] = None
                continue
            candidates = tuple(self._candidate(one.row, slot, p90[one.row, slot]) for slot in one.ranked)
            mine = candidates[one.ranked.index(one.slot)]
            self._batch.choices[one.task.task_id] = Choice(
                one.task.task_id,
                mine.agent_id,
                mine.p50_s,
                mine.p90_s,
                mine.finish_s,
                self._reason(one),
                candidates,
            )
        np.add.at(self._batch.fleet.in_flight, self._agent[[one.slot for one in placed]], 1)

    def _p90(self, placed: Sequence[_Placed]) -> dict[tuple[int, int], float]:
        """The p90 of each (group, slot) that is reported, worked out together."""
        wanted = list(dict.fromkeys((one.row, slot) for one in placed for slot in one.ranked))
        found: dict[tuple[int, int], float] = {}
        for grid in {id(grid): grid for grid, _, _ in self._grids.values()}.values():
            cells = [(row, slot) for row, slot in wanted if self._grids[row][0] is grid]
            numbers = np.array([self._grids[row][1] for row, _ in cells], np.intp)
            slots = np.array([slot for _, slot in cells], np.intp)
            if cells:
                columns = np.searchsorted(self._grids[cells[0][0]][2], slots)
                found |= zip(cells, grid.p90(numbers, columns).tolist(), strict=True)
        return found

    def _candidate(self, row: int, slot: int, p90_s: float) -> Candidate:
        wait_s = float(self._wait[row, slot])
        agent_id = self._batch.agents[self._agent[slot]].agent_id
        p50_s = float(self._p50[row, slot])
        return Candidate(agent_id, wait_s, p50_s, p90_s, wait_s + p50_s)

    def _reason(self, one: _Placed) -> RouteReason:
        if self._able[door_of(one.task)] == 1:
            return RouteReason.ONLY_CANDIDATE
        if one.explored:
            return RouteReason.EXPLORE
        agent = self._agent[one.slot]
        seen = self._batch.fleet.count[agent] or self._batch.view(one.task.kind).count[agent]
        return RouteReason.MODEL if seen else RouteReason.COLD
