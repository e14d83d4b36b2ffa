"""The features of a (task, agent) pair: their names and order are the schema, and its hash names it.

Pure. Everything is known before the attempt starts. Sizes are relative to what the kind and the agent usually
see, so that a model trained on one fleet says something about another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, log1p

import numpy as np
from numpy.typing import NDArray

from outrider.broker.facts import TaskFacts
from outrider.router.beliefs import AgentStats, KindStats, PairStats, log_seconds, prior

Floats = NDArray[np.float32]

TASK_NAMES = (
    "prompt_over_kind",
    "prompt_chars_log",
    "messages_log",
    "max_tokens_over_kind",
    "max_tokens_log",
    "asked_over_kind",
    "payload_over_kind",
    "kind_mean_log",
    "kind_spread",
    "kind_count_log",
)
AGENT_NAMES = ("prior_log", "prior_over_kind", "agent_count_log", "agent_spread", "slots_log")
LOAD_NAMES = ("in_flight_log", "in_flight_share", "in_flight_over_usual")
PAIR_NAMES = ("asked_over_prior",)
NAMES = TASK_NAMES + AGENT_NAMES + LOAD_NAMES + PAIR_NAMES
COUNT = len(NAMES)
SCHEMA = hashlib.sha256(("features 1: " + " ".join(NAMES)).encode()).hexdigest()

_AGENT_AT = len(TASK_NAMES)
_LOAD_AT = _AGENT_AT + len(AGENT_NAMES)
_PAIR_AT = _LOAD_AT + len(LOAD_NAMES)
_LARGEST = 1e9


def _log_size(value: float) -> float:
    return log1p(min(max(0.0, value), _LARGEST))


@dataclass(frozen=True, slots=True)
class AgentAtKind:
    """One agent as one kind sees it: prior log seconds, its features but load, and its usual load."""

    prior: float
    values: tuple[float, ...]
    usual_load: float


def task_values(facts: TaskFacts, kind: KindStats) -> tuple[float, ...]:
    """The features that depend on the task and its kind only."""
    prompt = _log_size(facts.prompt_chars)
    tokens = _log_size(facts.max_tokens)
    asked = log_seconds(facts.asked_s)
    return (
        prompt - kind.prompt,
        prompt,
        _log_size(facts.messages),
        tokens - kind.tokens if facts.max_tokens > 0 and kind.tokens_count else 0.0,
        tokens,
        asked - kind.asked if facts.asked_s > 0 and kind.asked_count else 0.0,
        _log_size(facts.payload_bytes) - kind.size,
        kind.mean,
        kind.spread,
        log1p(min(kind.count, 1000)),
    )


def agent_at_kind(kind: KindStats, agent: AgentStats, pair: PairStats, slots: int) -> AgentAtKind:
    expected = prior(kind, agent, pair)
    values = (expected, expected - kind.mean, log1p(min(pair.count, 100)), pair.spread, log(max(1, slots)))
    return AgentAtKind(expected, values, pair.load)


def lone_rows(
    task: tuple[float, ...],
    asked_s: float,
    agents: Sequence[AgentAtKind],
    slots: Sequence[int],
    in_flight: Sequence[int],
) -> Floats:
    """The rows of `pair_rows` for one task, without arrays for what is quicker with plain numbers."""
    asked = log_seconds(asked_s)
    rows = np.empty((len(agents), COUNT), np.float32)
    rows[:, :_AGENT_AT] = task
    rows[:, _AGENT_AT:] = [
        (*agent.values, 0.0, busy / max(places, 1), agent.usual_load, asked - agent.prior)
        for agent, places, busy in zip(agents, slots, in_flight, strict=True)
    ]
    if asked_s <= 0:
        rows[:, _PAIR_AT] = 0.0
    # NumPy's logarithm and not math's: the last bit must be that of `pair_rows`.
    load_log = np.log1p(np.array(in_flight, np.float32))
    rows[:, _LOAD_AT] = load_log
    rows[:, _LOAD_AT + 2] = load_log - rows[:, _LOAD_AT + 2]
    return rows


def pair_rows(
    tasks: Sequence[tuple[tuple[float, ...], float]],
    agents: Sequence[AgentAtKind],
    slots: Floats,
    in_flight: Floats,
) -> Floats:
    """One row for each task with each agent, tasks outermost: shape (tasks x agents, COUNT).

    `tasks` holds (task_values, asked_s); `slots` and `in_flight` stand beside `agents`.
    """
    rows = np.empty((len(tasks), len(agents), COUNT), np.float32)
    rows[:, :, :_AGENT_AT] = np.array([values for values, _ in tasks], np.float32)[:, None, :]
    rows[:, :, _AGENT_AT:_LOAD_AT] = np.array([agent.values for agent in agents], np.float32)
    load_log = np.log1p(in_flight)
    rows[:, :, _LOAD_AT] = load_log
    rows[:, :, _LOAD_AT + 1] = in_flight / np.maximum(slots, 1)
    rows[:, :, _LOAD_AT + 2] = load_log - np.array([agent.usual_load for agent in agents], np.float32)
    priors = np.array([agent.prior for agent in agents])
    for row, (_, asked_s) in enumerate(tasks):
        rows[row, :, _PAIR_AT] = log_seconds(asked_s) - priors if asked_s > 0 else 0.0
    return rows.reshape(-1, COUNT)
