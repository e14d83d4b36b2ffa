"""Rounds of routing: which held tasks are asked about, and what becomes of the answer.

Pure functions over Memory. One round is under way at a time, so that the next batch gathers meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

from outrider.broker.routing import Choice, PassedOver, RouteAgent, RouteReason, RouteRequest, RouteTask
from outrider.broker.states import AgentState
from outrider.ledger.entries import Assigned
from outrider.orchestrator import admission, attempts, limited, overload
from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.attempts import make_ready, write
from outrider.orchestrator.fallback import choose
from outrider.orchestrator.holding import (
    count_overtaken,
    is_its_turn,
    is_slow,
    must_wait,
    set_aside,
)
from outrider.orchestrator.instructions import Route
from outrider.orchestrator.model import Memory, Round, TaskRecord
from outrider.orchestrator.passing_over import explained, passed_over
from outrider.orchestrator.transitions import TaskPhase, Trigger


def start_round(m: Memory) -> None:
    """Ask about as many ready tasks as there are free slots, if no round is under way."""
    if m.round is not None or not m.is_recovered or not m.is_linked:
        return
    if m.limits.is_used:
        m.limits.forget_picks()
        admission.wake_stirred(m)
    agents: dict[str, AgentRecord] = {}
    picked: list[TaskRecord] = []
    may_hold = False
    for kind in dict.fromkeys([*m.ready.kinds(), *m.aside]):
        if m.pauses.covers(kind) or must_wait(m, kind):
            continue
        candidates = _candidates(m, kind)
        if candidates:
            ahead = m.thresholds.hold_ahead if is_slow(m, kind, candidates) else 0
            may_hold = may_hold or ahead > 0
            picked += _pick(m, kind, candidates, m.thresholds.batch - len(picked), ahead)
            agents |= {agent.agent_id: agent for agent in candidates}
    if not picked:
        return
    if may_hold and any(map(is_its_turn, picked)):
        picked, may_hold = _only_those_whose_turn_it_is(m, picked), False
    if may_hold:
        agents |= _full(m, {task.kind for task in picked})
    picked.sort(key=lambda task: (task.priority, task.order))
    route(m, picked, list(agents.values()), may_hold=may_hold)


def _only_those_whose_turn_it_is(m: Memory, picked: list[TaskRecord]) -> list[TaskRecord]:
    for task in picked:
        if not is_its_turn(task):
            put_back(m, task)
    return [task for task in picked if is_its_turn(task)]


def _candidates(m: Memory, kind: str) -> list[AgentRecord]:
    return list(islice(m.agents.available(kind), m.thresholds.most_candidates))


def _full(m: Memory, kinds: set[str]) -> dict[str, AgentRecord]:
    """Agents that a task may be left waiting for."""
    found: dict[str, AgentRecord] = {}
    for kind in sorted(kinds):
        found |= {a.agent_id: a for a in islice(m.agents.full(kind), m.thresholds.most_candidates)}
    return found


def _pick(m: Memory, kind: str, candidates: list[AgentRecord], most: int, ahead: int) -> list[TaskRecord]:
    """As many as there are free slots, and some `ahead` if tasks may wait for an agent that is full."""
    room = min(most, sum(agent.free for agent in candidates) + ahead)
    picked: list[TaskRecord] = []
    while len(picked) < room:
        task_id = m.ready.pop(kind)
        if task_id is None:
            break
        task = m.tasks.get(task_id)
        if task is None or task.phase is not TaskPhase.HELD or task.writing is not None:
            continue
        if attempts.expire_if_late(m, task) or overload.parks(m, task):
            continue
        if task.requires and not any(fits(agent, task) for agent in candidates):
            _no_candidate(m, task)
            continue
        if m.limits.is_used and not admission.admit(m, task):
            continue
        task.move(Trigger.PICKED)
        picked.append(task)
    return picked


def fits(agent: AgentRecord, task: TaskRecord) -> bool:
    return task.kind in agent.kinds and set(task.requires) <= set(agent.labels)


def _no_candidate(m: Memory, task: TaskRecord) -> None:
    """Nobody with these labels is free: back to the queue for a while, longer each time."""
    admission.send_away(m, task, min(m.thresholds.unfit_cap_s, m.thresholds.unfit_first_s * 2.0**task.unfit))


def route(m: Memory, picked: list[TaskRecord], agents: list[AgentRecord], *, may_hold: bool = False) -> None:
    """Put one round to the router."""
    m.rounds += 1
    shared = all(agent.kinds == agents[0].kinds for agent in agents)
    tasks = {task.task_id: _route_task(m, task, agents, shared) for task in picked}
    kinds = {task.kind for task in picked}
    out = {kind: passed_over(m.agents, kind, but_full=may_hold) for kind in kinds}
    m.round = Round(m.rounds, tasks, may_hold, m.agents.freed, out)
    offered = tuple(route_agent(agent, kinds) for agent in agents)
    request = RouteRequest(tuple(tasks.values()), offered, may_hold=may_hold)
    m.out.append(Route(m.rounds, request))


def _route_task(m: Memory, task: TaskRecord, agents: list[AgentRecord], shared: bool) -> RouteTask:
    among = None
    if task.requires or not shared:
        among = tuple(i for i, agent in enumerate(agents) if fits(agent, task))
    left_s = task.deadline - m.now if task.deadline is not None else None
    return RouteTask(
        task.task_id, task.kind, task.priority, task.story.attempt + 1, task.facts, among, left_s
    )


def route_agent(agent: AgentRecord, kinds: Iterable[str]) -> RouteAgent:
    slots = agent.free + agent.in_flight
    means = {kind: agent.mean_s[kind] for kind in kinds if kind in agent.mean_s}
    return RouteAgent(agent.agent_id, slots, agent.in_flight, means, agent.labels)


def routed(
    m: Memory, number: int, choices: tuple[Choice, ...], model: str, held: tuple[str, ...] = ()
) -> None:
    """Assign what the router chose, as far as it makes sense; the rest goes by the built-in rule or waits."""
    round_ = _finish_round(m, number)
    if round_ is None:
        return
    by_task = {choice.task_id: choice for choice in choices}
    left: list[TaskRecord] = []
    doubtful: list[TaskRecord] = []
    placed: list[TaskRecord] = []
    asked = _still_asked(m, round_)
    for task in asked:
        choice = by_task.get(task.task_id)
        if choice is None:
            left.append(task)
        elif is_sound(m, task, choice):
            assign(m, task, choice, model, round_.passed_over)
            placed.append(task)
        else:
            doubtful.append(task)
    if round_.may_hold and not set(held).isdisjoint(round_.tasks) and _anybody_busy(m, round_):
        count_overtaken(left, placed)
        set_aside(m, left, round_.freed)
        left = []
    elif len(left) == len(asked):
        left, doubtful = [], left
    for task in left:
        put_back(m, task)
    m.counters["router_bad_answers"] += len(doubtful)
    by_rule(m, doubtful, RouteReason.FALLBACK_BAD_ANSWER, round_.passed_over)


def _anybody_busy(m: Memory, round_: Round) -> bool:
    """Whether some attempt runs whose end a task could wait for."""
    kinds = {task.kind for task in round_.tasks.values()}
    return any(agent.in_flight for kind in kinds for agent in m.agents.of_kind(kind))


def _still_asked(m: Memory, round_: Round) -> list[TaskRecord]:
    """The round's tasks that still want an agent; the others go their way."""
    found = []
    pauses = m.pauses if m.pauses.was_used else None
    for task_id in round_.tasks:
        task = m.tasks.get(task_id)
        if task is None or task.phase is not TaskPhase.ROUTING:
            continue
        is_paused = pauses is not None and pauses.covers(task.kind)
        if task.writing is None and not is_paused and not attempts.expire_if_late(m, task):
            found.append(task)
        else:
            put_back(m, task)
    return found


def route_failed(m: Memory, number: int, reason: RouteReason) -> None:
    """The router is silent: the built-in rule decides the whole round."""
    round_ = _finish_round(m, number)
    if round_ is not None:
        m.counters[reason.value] += len(round_.tasks)
        by_rule(m, _still_asked(m, round_), reason, round_.passed_over)


def _finish_round(m: Memory, number: int) -> Round | None:
    round_ = m.round
    if round_ is None or round_.number != number:
        m.counters["router_late_answers"] += 1
        return None
    m.round = None
    return round_


def is_sound(m: Memory, task: TaskRecord, choice: Choice) -> bool:
    agent = m.agents.get(choice.agent_id)
    if agent is None or agent.state is not AgentState.ONLINE or agent.free <= 0 or not fits(agent, task):
        return False
    return 0.0 <= choice.p50_s <= choice.p90_s and choice.finish_s >= 0.0


def by_rule(
    m: Memory, tasks: list[TaskRecord], reason: RouteReason, out: Mapping[str, PassedOver | None]
) -> None:
    """Assign tasks by the built-in rule, and put back those for which nobody is free."""
    views: dict[str, list[tuple[AgentRecord, RouteAgent]]] = {}
    taken: Counter[str] = Counter()
    for task in tasks:
        if task.kind not in views:
            views[task.kind] = [(a, route_agent(a, (task.kind,))) for a in _candidates(m, task.kind)]
        agents = [view for agent, view in views[task.kind] if fits(agent, task)]
        choice = choose(task.task_id, task.kind, agents, taken, reason)
        if choice is None:
            put_back(m, task)
        else:
            taken[choice.agent_id] += 1
            assign(m, task, choice, "rule", out)


def put_back(m: Memory, task: TaskRecord) -> None:
    task.move(Trigger.PUT_BACK)
    make_ready(m, task)


def assign(
    m: Memory, task: TaskRecord, choice: Choice, model: str, out: Mapping[str, PassedOver | None]
) -> None:
    """Ask the ledger for the assignment; the agent hears of it once it is stored."""
    agent = m.agents.enter(choice.agent_id)
    story = task.story
    entry = Assigned(
        task_id=task.task_id,
        attempt=story.attempt + 1,
        agent_id=agent.agent_id,
        instance=agent.instance,
        epoch=story.epoch,
        kind=task.kind,
        priority=task.priority,
        reason=choice.reason,
        model=model,
        p50_s=choice.p50_s,
        p90_s=choice.p90_s,
        finish_s=choice.finish_s,
        candidates=choice.candidates[:5],
        facts=task.facts,
        slots=agent.slots,
        in_flight=agent.in_flight,
        waiting_s=max(0.0, m.now - task.ready_at),
        passed_over=_passed_over(m, task, choice, out.get(task.kind)),
    )
    task.move(Trigger.CHOSEN)
    task.unfit = 0
    m.agents.occupy(agent.agent_id, task.task_id)
    limited.hold(m, task)
    m.counters[f"routed_{choice.reason.value}"] += 1
    write(m, task, entry)


def _passed_over(m: Memory, task: TaskRecord, choice: Choice, known: PassedOver | None) -> PassedOver | None:
    if known is None and not task.requires:
        return None
    return explained(known, choice.candidates, m.agents, task.kind, task.requires)
