"""Bench R: fleets of measured endpoints. What a call took on an endpoint is what the attempt takes here.

Pure but for the records given. The newest run serves; every older run is history. A prompt is either history
or served, never both: the same prompt recurs on all models and in all runs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from outrider.router.evaluation.records import Call, Prompt, Records, Request
from outrider.router.evaluation.tables import DataUnusable
from outrider.router.evaluation.world import Outcome, SimAgent, SimTask, World

HISTORY_SHARE = 3
"""One prompt of so many is history."""
FEWEST_PROMPTS = 20
SLOTS = (1, 2, 3, 4)
LIMIT_OVER_MEDIAN = 2.0
"""An answer is good if it is right and takes at most so many times the fleet's median for the prompt."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which prompts are history and which are served."""

    history: frozenset[Prompt]
    served: tuple[Prompt, ...]


def split_prompts(records: Records, part: int) -> Split:
    """Every third prompt is history; `part` says which third."""
    prompts = sorted(records.facts)
    order = random.Random(7).sample(prompts, len(prompts))
    history = frozenset(order[part % HISTORY_SHARE :: HISTORY_SHARE])
    return Split(history, tuple(prompt for prompt in order if prompt not in history))


def history_calls(records: Records, split: Split) -> list[tuple[str, Call]]:
    """The calls of older runs whose prompts are history, one model after the other at each prompt."""
    found: list[tuple[str, Call]] = []
    for run in list(records.runs.values())[:-1]:
        columns = {model: [c for c in calls if c.prompt in split.history] for model, calls in run.items()}
        for at in range(max(map(len, columns.values()), default=0)):
            found += [(model, calls[at]) for model, calls in sorted(columns.items()) if at < len(calls)]
    return found


def newest_models(records: Records) -> list[str]:
    """The models of the run that is served. Raises DataUnusable for fewer than two."""
    models = sorted(list(records.runs.values())[-1])
    if len(models) < 2:
        raise DataUnusable("the newest run has fewer than two models")
    return models


def draw_models(models: Sequence[str], chooser: random.Random, size: tuple[int, int]) -> list[str]:
    return chooser.sample(models, min(chooser.randint(*size), len(models)))


def measured_world(
    records: Records,
    split: Split,
    trace: Sequence[Request],
    load: float,
    names: Sequence[str],
    chooser: random.Random,
) -> World:
    """The fleet of these models. Slots, order of prompts and part of the trace depend on `chooser` only."""
    agents = [SimAgent(name, chooser.choice(SLOTS)) for name in names]
    calls = [{call.prompt: call for call in list(records.runs.values())[-1][name]} for name in names]
    prompts = [prompt for prompt in split.served if all(prompt in known for known in calls)]
    if len(prompts) < FEWEST_PROMPTS:
        raise DataUnusable(f"only {len(prompts)} prompts were put to all of a fleet's models")
    chooser.shuffle(prompts)
    seconds = np.array([[known[prompt].seconds for known in calls] for prompt in prompts])
    correct = np.array([[known[prompt].is_correct for known in calls] for prompt in prompts])
    mean_s = seconds.mean(axis=0)
    rate = load * sum(agent.slots / mean for agent, mean in zip(agents, mean_s, strict=True))
    times = arrival_times(trace, len(prompts), float(rate), chooser)
    limits = LIMIT_OVER_MEDIAN * np.median(seconds, axis=1)
    tasks = [
        SimTask(f"t{number}", prompt[0], records.facts[prompt], times[number], float(limits[number]))
        for number, prompt in enumerate(prompts)
    ]
    table, right = seconds.tolist(), correct.tolist()

    def serve(task: int, agent: int, _attempt: int, _beside: int, _at: float) -> Outcome:
        return Outcome(table[task][agent], True, right[task][agent])

    return World(agents, tasks, serve, load, hidden_mean_s=mean_s.tolist())


def arrival_times(trace: Sequence[Request], count: int, rate: float, chooser: random.Random) -> list[float]:
    """Part of a trace, stretched so that `rate` tasks a second arrive; a short trace is repeated."""
    gaps = np.maximum(np.diff([request.at for request in trace]), 0.0)
    if not len(gaps) or gaps.sum() <= 0:
        raise DataUnusable("a trace needs two requests at different times")
    first = chooser.randrange(len(gaps))
    picked = gaps[(first + np.arange(count)) % len(gaps)]
    # A part that is all bursts would make another load: stretch by the part's own length.
    length = picked.sum() or 1.0
    return [float(at) for at in np.cumsum(picked) * (count / rate / length)]
