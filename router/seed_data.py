"""The generated data that the shipped model is trained on, and the command that makes that model.

`python -m outrider.router.seed_data` writes `router/model/`. Nothing here was measured: virtual fleets of
unlike agents serve made-up tasks under random routing. The same call gives the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import log, log1p
from pathlib import Path

import numpy as np

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Choice, RouteAgent, RouteAnswer, RouteReason, RouteRequest, RouteTask
from outrider.router.dataset import Row, RowBuilder
from outrider.router.folding import Began, Finished
from outrider.router.known_kinds import KNOWN_KINDS, Typical
from outrider.router.statistics import Attempt
from outrider.router.virtual_fleet import Arrival, Ended, VirtualFleet

FLEETS = 48
TASKS_PER_FLEET = 500
SEED = 20_240_801


@dataclass(frozen=True, slots=True)
class _Kind:
    """How long a made-up kind takes and how its tasks look."""

    typical: Typical
    by_prompt: float
    """By which power of the prompt's length the service grows."""
    by_tokens: float
    noise: float


@dataclass(frozen=True, slots=True)
class _Agent:
    slots: int
    pace: float
    """Its log seconds against the kind's usual."""
    by_load: float
    """By which power of the attempts beside it the service grows: 0 for a remote service, 1 for one core."""
    taste: dict[str, float]
    jump_at: float
    jump: float


def _kinds(random: np.random.Generator) -> dict[str, _Kind]:
    found = {
        name: _Kind(typical, *_growth(random, typical), noise=float(random.uniform(0.1, 0.5)))
        for name, typical in KNOWN_KINDS.items()
        if random.random() < 0.6
    }
    for number in range(int(random.integers(1, 4))):
        typical = Typical(
            float(np.exp(random.uniform(log(0.005), log(60.0)))),
            0.5,
            int(np.exp(random.uniform(3, 9))),
            int(random.choice([0, 64, 256, 1024])),
            float(random.choice([0.0, 0.0, 2.0])),
        )
        found[f"own{number}"] = _Kind(
            typical, *_growth(random, typical), noise=float(random.uniform(0.05, 0.7))
        )
    return found


def _growth(random: np.random.Generator, typical: Typical) -> tuple[float, float]:
    if typical.asked_s:
        return 0.0, 0.0
    return float(random.uniform(0.0, 0.8)), float(random.uniform(0.0, 0.9)) if typical.max_tokens else 0.0


def _agents(random: np.random.Generator, kinds: dict[str, _Kind]) -> dict[str, _Agent]:
    return {
        f"a{number}": _Agent(
            slots=int(random.choice([1, 1, 2, 2, 4, 8])),
            pace=float(random.normal(0, 0.6)),
            by_load=float(random.choice([0.0, 0.05, 0.2, 0.5, 0.9])),
            taste={kind: float(random.normal(0, 0.25)) for kind in kinds},
            jump_at=float(random.uniform(0.2, 3.0)),
            jump=float(random.choice([-0.7, 0.7, 1.2])),
        )
        for number in range(int(random.integers(2, 9)))
    }


def _facts(random: np.random.Generator, kind: _Kind) -> TaskFacts:
    usual = kind.typical
    prompt = int(usual.prompt_chars * np.exp(random.normal(0, 0.9)))
    tokens = int(usual.max_tokens * random.choice([0.5, 1.0, 1.0, 2.0])) if random.random() < 0.7 else 0
    asked = float(usual.asked_s * np.exp(random.normal(0, 1.2))) if usual.asked_s else 0.0
    return TaskFacts(prompt + 40, prompt, int(random.integers(0, 4)), tokens, asked)


def _log_service(kind: _Kind, task: RouteTask, agent: RouteAgent, its: _Agent) -> float:
    facts, usual = task.facts, kind.typical
    if facts.asked_s > 0:
        return log(facts.asked_s + 0.002)
    size = kind.by_prompt * (log1p(facts.prompt_chars) - log1p(usual.prompt_chars))
    length = kind.by_tokens * log(facts.max_tokens / usual.max_tokens) if facts.max_tokens else 0.0
    beside = its.by_load * log1p(agent.in_flight)
    return log(usual.service_s) + size + length + beside + its.pace + its.taste[task.kind]


class _SeedFleet:
    """One made-up fleet; routes at random and tells the row builder what a ledger would."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._kinds = _kinds(self._random)
        self._agents = _agents(self._random, self._kinds)
        self._builder = RowBuilder()
        self._rows: list[Row] = []
        self._epochs: dict[str, Attempt] = {}
        self._end_s = 1.0

    def rows(self) -> list[Row]:
        fleet = VirtualFleet(
            {name: agent.slots for name, agent in self._agents.items()},
            self._service,
            self._route,
            self._began,
            self._ended,
        )
        fleet.run(self._arrivals())
        return self._rows

    def _arrivals(self) -> list[Arrival]:
        names = sorted(self._kinds)
        mean_s = float(np.mean([self._kinds[name].typical.service_s for name in names]))
        slots = sum(agent.slots for agent in self._agents.values())
        gaps = self._random.exponential(mean_s / slots / self._random.uniform(0.2, 0.9), TASKS_PER_FLEET)
        times = np.cumsum(gaps)
        self._end_s = float(times[-1])
        kinds = [names[i] for i in self._random.integers(0, len(names), TASKS_PER_FLEET)]
        return [
            Arrival(float(at), kind, _facts(self._random, self._kinds[kind]))
            for at, kind in zip(times, kinds, strict=True)
        ]

    def _service(self, task: RouteTask, agent: RouteAgent) -> float:
        kind, its = self._kinds[task.kind], self._agents[agent.agent_id]
        noise = kind.noise * 0.1 if task.facts.asked_s > 0 else kind.noise
        tail = self._random.uniform(0.5, 1.5) if self._random.random() < 0.03 else 0.0
        jumped = its.jump if len(self._epochs) / TASKS_PER_FLEET > its.jump_at else 0.0
        log_s = _log_service(kind, task, agent, its) + jumped + tail + self._random.normal(0, noise)
        return float(np.exp(log_s))

    def _route(self, request: RouteRequest, now: float) -> RouteAnswer:
        free = {agent.agent_id: agent.free for agent in request.agents}
        choices = []
        for task in request.tasks:
            name = str(self._random.choice([name for name, count in free.items() if count]))
            free[name] -= 1
            choices.append(Choice(task.task_id, name, 0.0, 0.0, 0.0, RouteReason.EXPLORE))
        return RouteAnswer(tuple(choices), "random")

    def _began(self, start: Ended) -> None:
        agent, epoch = start.agent, len(self._epochs) + 1
        attempt = Attempt(
            start.task_id,
            agent.agent_id,
            start.kind,
            start.facts,
            agent.slots,
            agent.in_flight,
            None,
            epoch,
            start.began_at,
        )
        self._epochs[start.task_id] = attempt
        self._builder.learn(Began(attempt), start.began_at)

    def _ended(self, end: Ended) -> None:
        row = self._builder.learn(Finished(self._epochs[end.task_id], end.service_s), end.ended_at)
        if row is not None:
            self._rows.append(row)


def seed_rows(fleets: int = FLEETS) -> Iterator[Row]:
    """The rows of all made-up fleets, one fleet after the other."""
    for number in range(fleets):
        yield from _SeedFleet(SEED + number).rows()


def main() -> None:
    """Train on the seed data and write the shipped model."""
    from outrider.router.artifact import SHIPPED, manifest_hash  # noqa: PLC0415
    from outrider.router.training import train_seed_model  # noqa: PLC0415

    train_seed_model(list(seed_rows()), SHIPPED)
    pin = manifest_hash(Path(SHIPPED))
    sys.stdout.write(f'PINNED_MANIFEST_SHA256 = "{pin}"  # router/artifact.py\n')


if __name__ == "__main__":
    main()
