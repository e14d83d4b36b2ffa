"""What one seed stands for: thresholds, agents, tasks and which faults may happen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from outrider.broker.flows import OnFailure
from outrider.broker.messages import TaskEnvelope
from outrider.orchestrator.config import Thresholds
from tests.sim.fake_client import Order
from tests.sim.fake_limiter import KEYS, LimitChange, draw_changes
from tests.sim.fake_server import PRIORITIES
from tests.sim.loop import EPOCH
from tests.sim.temper import POISON, Profile, Temper
from tests.sim.wire import Weather

KINDS = ("chat", "echo")
UNSERVED = "rare"
DEAF_UNTIL_S = 12.0

QUICK = Thresholds(
    heartbeat_s=2.0,
    offline_after_s=9.0,
    ping_every_s=2.0,
    join_silence_s=2.0,
    pulse_every_s=1.0,
    owner_silent_s=4.0,
    resend_assign_s=1.5,
    default_timeout_s=20.0,
    timeout_grace_s=2.0,
    lease_floor_s=6.0,
    backoff_first_s=0.5,
    backoff_cap_s=6.0,
    uncharged_before_dead=6,
    cool_down_s=4.0,
    unfit_first_s=0.5,
    unfit_cap_s=4.0,
    lookahead=2,
    most_held=16,
    batch=4,
    ageing_s=1.5,
    ageing_every=3,
)
STANDARD = Thresholds(
    default_timeout_s=25.0, lease_floor_s=10.0, backoff_cap_s=10.0, unfit_cap_s=8.0, lookahead=3
)

FAULTS = (
    "kill_orchestrator",
    "freeze_orchestrator",
    "partition_orchestrator",
    "stop_orchestrator",
    "kill_agent",
    "freeze_agent",
    "partition_agent",
    "drain_agent",
    "crash_server",
    "freeze_server",
    "jetstream_gap",
    "forget_pulls",
    "router_mode",
    "kill_router",
    "partition_client",
    "hostile_entry",
    "jump_clock",
    "fill_ledger",
    "stop_agent",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything about a run that is decided before it starts."""

    thresholds: Thresholds
    orchestrators: int
    profiles: list[Profile]
    orders: list[Order]
    faults: tuple[str, ...]
    fault_every_s: float
    faults_until_s: float
    weather: Weather
    is_skewed: bool
    is_dropping: bool
    starts_apart: bool
    """The second orchestrator comes while the first is cut off."""
    has_operator: bool
    """Somebody pauses, resumes, requeues and discards."""
    starts_rough: bool
    """The first orchestrator dies just after the agents joined, before the ledger has them."""
    changes: list[LimitChange]
    """Of limits; none at all in half of the worlds."""
    renew_trouble: float = 0.0
    """Share of `renew` messages that are lost, late or come twice."""
    predicts: tuple[float, float] = (1.0, 2.5)
    """What the router takes for the p50 and p90 of everything."""
    stalls: bool = False
    """Nothing goes wrong but one orchestrator, which stands still for longer than an agent may be silent."""


def draw(random: Random) -> Scenario:
    """The scenario of a seed: each turns on another handful of faults, so that none hides the others."""
    faults = tuple(f for f in FAULTS if random.random() < 0.35)
    until_s = random.uniform(12.0, 30.0)
    is_skewed = "jump_clock" in faults
    weather = _weather(random)
    scenario = Scenario(
        thresholds=random.choice((QUICK, QUICK, STANDARD)),
        orchestrators=random.choice((1, 2)),
        profiles=_profiles(random, is_hostile="hostile_entry" in faults),
        orders=_orders(random, until_s),
        faults=faults,
        fault_every_s=random.uniform(1.0, 5.0),
        faults_until_s=until_s,
        weather=weather,
        is_skewed=is_skewed,
        is_dropping=weather.drop > 0,
        starts_apart=random.random() < 0.3,
        starts_rough=random.random() < 0.08,
        has_operator=random.random() < 0.4,
        changes=[],
    )
    if random.random() < 0.5:
        scenario = _limited(random, scenario)
    if random.random() < 0.4:
        scenario.orders.extend(_unserved(random, until_s))
    return _hedged(Random(random.random()), scenario)


def _hedged(random: Random, scenario: Scenario) -> Scenario:
    """The same world with tasks that may run on two agents at once, in half of all."""
    if random.random() < 0.5:
        return scenario
    for order in scenario.orders:
        if random.random() < 0.7:
            order.envelope = replace(order.envelope, hedge=True)
    for profile in scenario.profiles:
        profile.temper.hears_renew = random.random() < 0.8
    thresholds = replace(scenario.thresholds, hedge_share=random.choice((0.05, 0.5, 1.0)), hedge_least_s=0.3)
    trouble = random.choice((0.0, 0.3))
    return replace(scenario, thresholds=thresholds, renew_trouble=trouble, predicts=(0.2, 0.5))


def calm(random: Random, scenario: Scenario) -> Scenario:
    """Now and then the same world with one thing wrong and no other: a long stall, lost words, lies."""
    chance = random.random()
    if chance < 0.04:
        return _stalling(scenario)
    if chance < 0.18:
        return _lying(scenario) if chance < 0.08 else _strange(scenario)
    return scenario


def _lying(scenario: Scenario) -> Scenario:
    """One agent writes what it may not, again and again."""
    scenario.profiles[-1].temper.is_hostile = scenario.profiles[-1].temper.may_lie = True
    return replace(
        scenario,
        faults=("hostile_entry", "hostile_entry", "kill_agent"),
        fault_every_s=0.7,
        weather=Weather(),
        is_skewed=False,
        is_dropping=False,
    )


def _strange(scenario: Scenario) -> Scenario:
    """Two orchestrators that hear little of each other at first; some handlers go on for long."""
    for profile in scenario.profiles:
        profile.temper.longest_s, profile.temper.hang = 1.0, 0.4
    return replace(
        scenario,
        thresholds=replace(QUICK, pulse_every_s=2.0, owner_silent_s=20.0),
        orchestrators=2,
        faults=(),
        faults_until_s=DEAF_UNTIL_S,
        changes=[change for change in scenario.changes if change.at < DEAF_UNTIL_S],
        weather=Weather(deaf=0.8),
        is_skewed=False,
        is_dropping=False,
        starts_apart=False,
    )


def _stalling(scenario: Scenario) -> Scenario:
    return replace(
        scenario,
        thresholds=QUICK,
        faults=(),
        faults_until_s=30.0,
        weather=Weather(),
        is_skewed=False,
        is_dropping=False,
        starts_apart=False,
        starts_rough=False,
        stalls=True,
    )


def _unserved(random: Random, until_s: float) -> list[Order]:
    """Tasks of a kind that no agent can do: they expire, or make no sense at all."""
    orders = []
    for number in range(random.randint(1, 3)):
        submit_at = random.uniform(0.0, until_s * 0.8)
        deadline_at = EPOCH + submit_at + random.uniform(0.5, 15.0)
        envelope = TaskEnvelope(
            UNSERVED,
            None,
            f"u-{number}",
            random.choice(PRIORITIES),
            deadline_at,
            submitted_at=EPOCH + submit_at,
        )
        orders.append(Order(envelope, submit_at, is_malformed=random.random() < 0.3))
    return orders


def _limited(random: Random, scenario: Scenario) -> Scenario:
    """The same world with limits, keys and sometimes a provider that refuses."""
    for order in scenario.orders:
        key = random.choice((None, *KEYS))
        payload = order.envelope.payload
        if payload != POISON:
            payload = {"max_tokens": random.choice((40, 100, 300))}
        order.envelope = replace(order.envelope, limit_key=key, payload=payload)
    throttle = random.choice((0.0, 0.0, 0.4))
    for profile in scenario.profiles:
        profile.temper.throttle = throttle
    return replace(scenario, changes=draw_changes(random, scenario.faults_until_s))


def _weather(random: Random) -> Weather:
    def share(most: float) -> float:
        return random.uniform(0.0, most) if random.random() < 0.25 else 0.0

    return Weather(share(0.05), share(0.05), share(0.02), share(0.08), share(0.01))


def _profiles(random: Random, *, is_hostile: bool) -> list[Profile]:
    """The first agent can do everything, so that in the end nothing lacks."""
    profiles = [Profile("a0", KINDS, ("gpu",), _temper(random))]
    for n in range(1, random.randint(2, 4)):
        kinds = random.choice((KINDS, KINDS, KINDS[:1], KINDS[1:]))
        labels = ("gpu",) if random.random() < 0.3 else ()
        profiles.append(Profile(f"a{n}", kinds, labels, _temper(random)))
    if is_hostile:
        profiles[-1].temper.is_hostile = profiles[-1].temper.may_lie = True
    return profiles


def _temper(random: Random) -> Temper:
    temper = Temper(slots=random.randint(1, 3), longest_s=random.choice((0.3, 2.0, 6.0)))
    if random.random() < 0.15:
        temper.refuse = 0.9
    if random.random() < 0.2:
        temper.fail = 0.6
    return temper


def _orders(random: Random, until_s: float) -> list[Order]:
    """Some tasks wait for earlier ones, and sometimes one for the group that all before it make up."""
    orders = [_order(random, n, until_s) for n in range(random.randint(6, 14))]
    kin = Random(random.random())
    if kin.random() < 0.5:
        return orders
    for number, order in enumerate(orders):
        if number and kin.random() < 0.4:
            _wait(kin, order, orders[:number])
    return orders


def _wait(random: Random, order: Order, before: list[Order]) -> None:
    on_failure = random.choice((None, OnFailure.RUN))
    parents = random.sample(before, min(len(before), random.choice((1, 1, 2, 3))))
    if random.random() < 0.2 and not any(o.envelope.after_group for o in before):
        parents = before
        # Not t-<number>, which would be a member of the group.
        waits: dict[str, Any] = {
            "after_group": "t",
            "after_group_size": len(before),
            "task_id": f"hook-{order.task_id}",
        }
    else:
        waits = {"after": tuple(parent.task_id for parent in parents)}
    order.envelope = replace(order.envelope, on_failure=on_failure, **waits)
    order.submit_at = max(order.submit_at, *(parent.submit_at for parent in parents))


def _order(random: Random, number: int, until_s: float) -> Order:
    submit_at = random.uniform(0.0, until_s * 0.8) if random.random() < 0.7 else 0.5
    deadline = submit_at + random.uniform(1.0, 30.0) if random.random() < 0.2 else None
    envelope = TaskEnvelope(
        random.choice(KINDS),
        POISON if random.random() < 0.03 else "payload",
        f"t-{number}",
        random.choice(PRIORITIES),
        None if deadline is None else EPOCH + deadline,
        random.choice((None, None, 8.0, 15.0)),
        random.choice((1, 2, 3, 3)),
        ("gpu",) if random.random() < 0.2 else (),
        submitted_at=EPOCH + submit_at,
    )
    cancel_at = submit_at + random.expovariate(0.3) if random.random() < 0.25 else None
    return Order(envelope, submit_at, cancel_at, is_malformed=random.random() < 0.03)
