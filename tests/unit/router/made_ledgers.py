"""Decisions whose truth is known: what each task would have taken on every agent is drawn beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from outrider.broker.facts import TaskFacts
from outrider.broker.routing import Candidate
from outrider.router.counterfactual.decisions import Ask, Decision
from outrider.router.statistics import Statistics

PACE = {"a": 0.0, "b": 0.4, "c": 0.9}
"""Mean log seconds of each agent; all grow with half a power of the prompt."""
NOISE, BY_PROMPT = 0.4, 0.5

Logged = Callable[[Decision, np.random.Generator], str]
"""Who ran the task; the decision holds no agent yet."""


def by_dice(decision: Decision, random: np.random.Generator) -> str:
    return str(random.choice(decision.agents))


def by_size(decision: Decision, random: np.random.Generator) -> str:
    """No dice: large prompts to a, others to b, and c sees some of both."""
    if decision.facts.messages == 0:
        return "c"
    return "a" if decision.facts.prompt_chars > 300 else "b"


@dataclass
class MadeLedger:
    """Decisions of one seed; `seconds` holds what every agent would have taken, `mean_s` the mean of that."""

    seed: int
    logged: Logged
    model: str = ""
    tasks: int = 400
    pace: dict[str, float] = field(default_factory=lambda: dict(PACE))
    drift: float = 0.0
    """By how much log seconds of b grow from the first decision to the last."""
    seconds: list[dict[str, float]] = field(default_factory=list)

    def decisions(self, ask: Ask) -> list[Decision]:
        random = np.random.default_rng(self.seed)
        return [self._decision(number, random, ask) for number in range(self.tasks)]

    def _decision(self, number: int, random: np.random.Generator, ask: Ask) -> Decision:
        chars = int(np.exp(random.normal(5.7, 0.6)))
        facts = TaskFacts(chars + 40, chars, int(random.integers(0, 4)), 64)
        candidates = tuple(Candidate(agent, 0.0, 1.0, 2.0, 1.0) for agent in self.pace)
        free = dict.fromkeys(self.pace, 0)
        made = Decision(
            f"t{number}", 1, "chat", 5, 10.0 * number, "", self.model, facts, 0.5, candidates, free,
            dict.fromkeys(self.pace, 2),
        )  # fmt: skip
        made.agent_id = self.logged(made, random)
        self.seconds.append({agent: self._drawn(agent, chars, number, random) for agent in self.pace})
        made.finish_s = self.seconds[-1][made.agent_id]
        made.wants = ask(made, Statistics())
        return made

    def _drawn(self, agent: str, chars: int, number: int, random: np.random.Generator) -> float:
        moved = self.drift * number / self.tasks if agent == "b" else 0.0
        log_s = self.pace[agent] + moved + BY_PROMPT * np.log(chars / 300) + random.normal(0.0, NOISE)
        return float(np.exp(log_s))

    def change_s(self, decisions: list[Decision]) -> float:
        """The true change of the mean, over these very tasks."""
        wanted = [
            sum(share * drawn[agent] for agent, share in (decision.wants or {}).items())
            for decision, drawn in zip(decisions, self.seconds, strict=True)
        ]
        return float(np.mean(wanted) - np.mean([decision.finish_s or 0.0 for decision in decisions]))
