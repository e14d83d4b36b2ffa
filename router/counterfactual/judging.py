"""What each decision says of a policy: the recorded outcome, possible outcomes elsewhere, or nothing.

Pure. Where the policy wants the agent that ran the task, the recorded time counts. Where it wants another,
the possible outcomes there share its weight. Where the recorded choice was a throw of dice with known odds,
the recorded time is weighted by their inverse and the possible outcomes of that agent pay for it (doubly
robust).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from outrider.router.counterfactual.decisions import Decision, dice_of
from outrider.router.counterfactual.outcomes import Outcomes

Values = NDArray[np.float64]
Indexes = NDArray[np.intp]
RECORDED = -1


@dataclass(frozen=True, slots=True)
class Lot:
    """Equally likely seconds that share a weight; each was seen at a decision, or is RECORDED at its own."""

    decision: int
    weight: float
    seconds: Values
    seen_at: Indexes


@dataclass(slots=True)
class Judged:
    """All decisions sorted. The weights of one decision's lots are 1 in all."""

    recorded: list[Lot] = field(default_factory=list)
    replayed: list[Lot] = field(default_factory=list)
    matched: float = 0.0
    """How many decisions the policy would have taken as recorded; a throw of dice counts by its odds."""
    modelled: float = 0.0
    reweighted: int = 0
    """Decisions whose recorded time is weighted by known odds."""
    unjudged: Counter[str] = field(default_factory=Counter)


def judge(decisions: Sequence[Decision], outcomes: Outcomes) -> Judged:
    """Sort all decisions; each must hold what the policy wants (`wants`)."""
    judged = Judged()
    for number, decision in enumerate(decisions):
        if not decision.wants:
            judged.unjudged["no_candidates"] += 1
        elif decision.finish_s is None:
            judged.unjudged["no_success"] += 1
        else:
            _judge(judged, number, decision, decision.wants, outcomes)
    return judged


def _judge(
    judged: Judged, number: int, decision: Decision, wants: dict[str, float], outcomes: Outcomes
) -> None:
    recorded = _recorded(number, decision, 1.0)
    own = wants.get(decision.agent_id, 0.0)
    dice = dice_of(decision)
    if _is_recorded_policy(decision, wants, dice):
        own, lots = 1.0, [recorded]
    else:
        elsewhere = _elsewhere(number, decision, wants, outcomes)
        if elsewhere is None:
            judged.unjudged["little_known"] += 1
            return
        lots = elsewhere + _here(number, decision, own, dice, outcomes)
        judged.reweighted += dice is not None
    judged.recorded.append(recorded)
    judged.replayed += lots
    judged.matched += own
    judged.modelled += 1.0 - own


def _is_recorded_policy(decision: Decision, wants: dict[str, float], dice: dict[str, float] | None) -> bool:
    """Whether the policy chose here exactly as what was recorded did, odds included."""
    odds = dice or {decision.agent_id: 1.0}
    return all(abs(wants.get(agent, 0.0) - odds.get(agent, 0.0)) < 1e-9 for agent in wants | odds)


def _recorded(number: int, decision: Decision, weight: float) -> Lot:
    seconds = np.array([decision.waited_s + (decision.finish_s or 0.0)])
    return Lot(number, weight, seconds, np.array([RECORDED], np.intp))


def _elsewhere(
    number: int, decision: Decision, wants: dict[str, float], outcomes: Outcomes
) -> list[Lot] | None:
    """Possible outcomes of all other agents that the policy may want; None when one is too little known."""
    lots = []
    for agent_id, share in wants.items():
        if share > 0.0 and agent_id != decision.agent_id:
            lot = _possible(number, decision, agent_id, share, outcomes)
            if lot is None:
                return None
            lots.append(lot)
    return lots


def _here(
    number: int, decision: Decision, own: float, dice: dict[str, float] | None, outcomes: Outcomes
) -> list[Lot]:
    """The recorded time with the share the policy gives its agent, corrected for known odds."""
    if own <= 0.0:
        return []
    if dice is not None:
        weight = own / dice[decision.agent_id]
        correction = _possible(number, decision, decision.agent_id, own - weight, outcomes)
        if correction is not None:
            return [_recorded(number, decision, weight), correction]
    return [_recorded(number, decision, own)]


def _possible(
    number: int, decision: Decision, agent_id: str, weight: float, outcomes: Outcomes
) -> Lot | None:
    found = outcomes.possible(number, agent_id)
    if found is None:
        return None
    return Lot(number, weight, decision.waited_s + found.seconds, found.seen_at)
