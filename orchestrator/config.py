"""Every threshold of the orchestrator as a setting, with its unit in the name.

The only file of `orchestrator/` that reads the environment: `OUTRIDER_` and the upper-case field name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from outrider.broker import hedge_rule
from outrider.broker.config import BadSettings

MAY_BE_ZERO = frozenset({"OUTRIDER_HEDGE_SHARE"})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When what happens. All `_s` are seconds."""

    heartbeat_s: float = 15.0
    suspect_after_beats: int = 3
    offline_after_s: float = 60.0
    ping_every_s: float = 5.0
    pings_unanswered: int = 2
    """No-responders in a row after which an agent's attempts are lost."""
    join_silence_s: float = 6.0
    pulse_every_s: float = 2.0
    owner_silent_s: float = 6.0
    kind_wait_s: float = 2.0
    """How long, and at most a pulse, a kind is waited for that another orchestrator may have let in."""
    route_budget_s: float = 0.25
    resend_assign_s: float = 3.0
    default_timeout_s: float = 600.0
    timeout_grace_s: float = 5.0
    """How much later than the agent itself the orchestrator ends an attempt."""
    lease_factor: float = 4.0
    lease_floor_s: float = 30.0
    backoff_first_s: float = 1.0
    backoff_cap_s: float = 300.0
    uncharged_before_backoff: int = 3
    uncharged_before_dead: int = 20
    lost_before_poison: int = 2
    """Different agents that died while they ran a task, after which it is dead and not tried on another."""
    cool_down_s: float = 10.0
    failures_before_cool_down: int = 5
    unfit_first_s: float = 1.0
    unfit_cap_s: float = 30.0
    unknown_parent_s: float = 10.0
    """How long after its submission a task may wait for one that nobody knows yet."""
    most_blocked: int = 50_000
    """Tasks that wait for others and are kept in memory; more stay in the queue."""
    look_again_s: float = 30.0
    """How often it is checked whether an end was missed of what up to `look_again_members` wait for."""
    look_again_members: int = 1000
    provider_wait_cap_s: float = 600.0
    """The longest that a provider's `retry_after_s` holds back other tasks than the one it refused."""
    lookahead: int = 32
    """Tasks of one kind and priority held beyond the free slots."""
    most_held: int = 512
    batch: int = 256
    most_candidates: int = 200
    hold_from_s: float = 0.25
    """Kinds whose fastest agent needs so long may wait for a full agent, if the router says so."""
    hold_ahead: int = 8
    """Tasks beyond the free slots that the router is asked about, if they may wait for a full agent."""
    hold_look_s: float = 0.5
    """Tasks that wait for a full agent are asked about again after so long, if nothing changed before."""
    hedge_share: float = hedge_rule.SHARE
    """Second attempts beside a slow one, as a share of recent assignments; 0 for none."""
    hedge_least_s: float = hedge_rule.LEAST_S
    """What runs shorter than this is never hedged."""
    loop_stall_s: float = 2.0
    ledger_full_at: float = 0.8
    """Share of LEDGER's bytes from which nothing new begins; the rest is for results of what has begun."""
    ledger_check_s: float = 1.0
    most_schedules: int = 100_000
    """Schedules and delayed tasks together."""
    most_schedule_bytes: int = 1024**3
    sweep_every_s: float = 5.0
    sweep_per_s: float = 500.0
    """Messages of the queue looked at in a second, at most."""
    ageing_s: float = 60.0
    """Waiting that counts as one priority higher, at one pick in `ageing_every`."""
    ageing_every: int = 8
    most_dead_letters: int = 50_000
    """Kept in mind for listing; older ones stand in the ledger only."""
    snapshot_every: int = 50_000
    """Ledger entries from one snapshot to the next."""

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Self:
        """Defaults, changed by what the environment sets. Raises BadSettings."""
        given: dict[str, Any] = {}
        for field in fields(cls):
            variable = f"OUTRIDER_{field.name.upper()}"
            if variable in env:
                given[field.name] = _number(variable, env[variable], whole=field.type in (int, "int"))
        return cls(**given)


def _number(variable: str, text: str, *, whole: bool) -> float | int:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise BadSettings(f"{variable}={text!r} is not a {'whole ' if whole else ''}number") from None
    if not (value > 0 or (value == 0 and variable in MAY_BE_ZERO)):
        raise BadSettings(f"{variable}={text!r} must be more than 0")
    return value
