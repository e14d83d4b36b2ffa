"""Bench S: modelled stress. Durations are made from measured parts, they were not measured as such.

Pure but for the records given. Service = first token (grows with the prompt) + generated tokens x seconds
between tokens x slow-down beside others; the parts of an attempt come from one measured reply.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from outrider.broker.facts import TaskFacts
from outrider.router.evaluation.history import Known, learn_history, shipped_predictor
from outrider.router.evaluation.measured_world import arrival_times
from outrider.router.evaluation.records import Call, Records, Reply, Request
from outrider.router.evaluation.tables import DataUnusable
from outrider.router.evaluation.world import Outcome, SimAgent, SimTask, World

TRACE = "conv"
FEWEST_ANSWERS = 5
HISTORY_CALLS = 60
FLEET = (5, 10)
MEASURED_PROMPT_TOKENS = 550.0
CHARS_PER_TOKEN = 4
KIND = "chat"
REFUSED_SHARE, REFUSED_S = 0.89, 0.2
HANG_SHARE, HANG_S = 0.06, (30.0, 100.0)
OUTAGE_S = 0.3
SMALLEST_STEP, LARGEST_STEP = 0.45, 8.8


@dataclass(frozen=True, slots=True)
class _Stress:
    """What befalls an agent, in parts of the whole run."""

    refuses: bool = False
    hangs: bool = False
    down: tuple[float, float] = (2.0, 2.0)
    step_at: float = 2.0
    step: float = 1.0


Trouble = Callable[[random.Random, int], dict[int, _Stress]]


def _some(chooser: random.Random, count: int) -> list[int]:
    return chooser.sample(range(count), max(1, count // 4))


def _steps(chooser: random.Random, count: int) -> dict[int, _Stress]:
    return {
        number: _Stress(
            step_at=chooser.uniform(0.2, 0.6), step=chooser.choice((SMALLEST_STEP, 2.0, LARGEST_STEP))
        )
        for number in chooser.sample(range(count), count // 2)
    }


TROUBLES: dict[str, Trouble] = {
    "instant_429": lambda chooser, count: {n: _Stress(refuses=True) for n in _some(chooser, count)},
    "hangs": lambda chooser, count: {n: _Stress(hangs=True) for n in _some(chooser, count)},
    "outage": lambda chooser, count: {n: _Stress(down=(0.3, 0.6)) for n in _some(chooser, count)},
    "drift_steps": _steps,
}


def endpoints(records: Records) -> dict[str, list[Reply]]:
    """The answers of each endpoint that has enough. Raises DataUnusable for fewer than two, or no trace."""
    for file in (f"azure_llm_2023_{TRACE}", "llmperf_leaderboard_2023"):
        if file in records.lacking:
            raise DataUnusable(records.lacking[file])
    answers = {name: [r for r in found if not r.error] for name, found in records.replies.items()}
    usable = {name: found for name, found in answers.items() if len(found) >= FEWEST_ANSWERS}
    if len(usable) < 2:
        raise DataUnusable(
            f"llmperf_leaderboard_2023 has fewer than two endpoints with {FEWEST_ANSWERS} answers"
        )
    return usable


def stress_world(records: Records, scenario: str, load: float, seed: int, count: int) -> tuple[World, Known]:
    """The fleet and its `count` tasks depend on the seed only; the scenario decides what goes wrong."""
    chooser = random.Random(f"stress {seed}")
    replies = endpoints(records)
    names = chooser.sample(sorted(replies), min(chooser.randint(*FLEET), len(replies)))
    agents = [SimAgent(name, chooser.choice((2, 3, 4))) for name in names]
    trace = records.traces[TRACE]
    first = chooser.randrange(len(trace))
    asked = [trace[(first + number) % len(trace)] for number in range(count)]
    model = _Model([replies[name] for name in names], asked, records.slowdown.tolist(), seed)
    mean_s = [model.mean_s(number) for number in range(len(names))]
    troubles = TROUBLES[scenario](chooser, len(names)) if scenario in TROUBLES else {}
    able = [n for n in range(len(names)) if not (n in troubles and troubles[n].refuses)]
    rate = load * sum(agents[n].slots / mean_s[n] for n in able)
    times = arrival_times(trace, count, rate, chooser)
    if scenario == "join_leave":
        agents = _coming_and_going(agents, times[-1])
    tasks = [_task(number, asked[number], times[number], model.limit_s(number)) for number in range(count)]
    serve = model.under(troubles, times[-1])
    return World(agents, tasks, serve, load, hidden_mean_s=mean_s), _history(model, names, seed)


def _coming_and_going(agents: Sequence[SimAgent], end_s: float) -> list[SimAgent]:
    """One agent leaves at a third of the time, another joins then, and a third one leaves at two thirds."""
    changed = list(agents)
    changed[0] = replace(agents[0], leaves_at=end_s / 3)
    changed[1] = replace(agents[1], joins_at=end_s / 3)
    changed[2] = replace(agents[2], leaves_at=end_s * 2 / 3)
    return changed


def _task(number: int, request: Request, at: float, limit_s: float) -> SimTask:
    return SimTask(f"s{number}", KIND, _facts(request), at, limit_s)


def _facts(request: Request) -> TaskFacts:
    chars = request.context_tokens * CHARS_PER_TOKEN
    return TaskFacts(payload_bytes=chars, prompt_chars=chars, messages=1)


class _Model:
    """How long a request takes on an endpoint; the same draw for every policy."""

    def __init__(
        self,
        replies: Sequence[Sequence[Reply]],
        asked: Sequence[Request],
        slowdown: Sequence[float],
        seed: int,
    ) -> None:
        self._replies, self._asked, self._slowdown, self._seed = replies, asked, slowdown, seed

    def seconds(self, task: int, agent: int, attempt: int, beside: int) -> float:
        draw = random.Random(f"{self._seed} {task} {agent} {attempt}")
        return self._with(self._asked[task], draw.choice(self._replies[agent]), beside)

    def _with(self, request: Request, reply: Reply, beside: int) -> float:
        first_s = reply.first_s * (0.5 + 0.5 * request.context_tokens / MEASURED_PROMPT_TOKENS)
        slower = self._slowdown[min(beside, len(self._slowdown) - 1)]
        return max(1e-3, first_s + request.generated_tokens * reply.between_s * slower)

    def mean_s(self, agent: int) -> float:
        picked = range(0, len(self._asked), 5)
        return sum(self.seconds(task, agent, 1, 1) for task in picked) / len(picked)

    def limit_s(self, task: int) -> float:
        usual = sorted(self.seconds(task, agent, 1, 0) for agent in range(len(self._replies)))
        return 2.0 * usual[len(usual) // 2]

    def under(
        self, troubles: dict[int, _Stress], end_s: float
    ) -> Callable[[int, int, int, int, float], Outcome]:
        def serve(task: int, agent: int, attempt: int, beside: int, at: float) -> Outcome:
            seconds = self.seconds(task, agent, attempt, beside)
            trouble = troubles.get(agent)
            return (
                Outcome(seconds)
                if trouble is None
                else self._troubled(trouble, seconds, task, attempt, at / end_s)
            )

        return serve

    def _troubled(self, trouble: _Stress, seconds: float, task: int, attempt: int, part: float) -> Outcome:
        draw = random.Random(f"{self._seed} trouble {task} {attempt}")
        if trouble.refuses and draw.random() < REFUSED_SHARE:
            return Outcome(REFUSED_S, False, False)
        if trouble.hangs and draw.random() < HANG_SHARE:
            return Outcome(draw.uniform(*HANG_S), False, False)
        if trouble.down[0] <= part < trouble.down[1]:
            return Outcome(OUTAGE_S, False, False)
        return Outcome(seconds * (trouble.step if part >= trouble.step_at else 1.0))

    def history(self, name: str, agent: int, seed: int) -> list[tuple[str, Call, TaskFacts]]:
        draw = random.Random(f"history {seed} {agent}")
        found = []
        for number in range(HISTORY_CALLS):
            request = draw.choice(self._asked)
            seconds = self._with(request, draw.choice(self._replies[agent]), 0)
            found.append((name, Call((KIND, agent * HISTORY_CALLS + number), seconds, True), _facts(request)))
        return found


def _history(model: _Model, names: Sequence[str], seed: int) -> Known:
    """What was seen on a quiet day before; no forest is trained on it, the shipped one serves."""
    columns = [model.history(name, number, seed) for number, name in enumerate(names)]
    calls = [column[at] for at in range(HISTORY_CALLS) for column in columns]
    facts = {call.prompt: known for _, call, known in calls}
    return learn_history([(name, call) for name, call, _ in calls], facts, shipped_predictor())
