"""Asks a second agent to run what takes unusually long: only on request, on an idle slot, within a budget.

Pure functions over Memory. The router chooses the second agent; the first recorded success wins.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice

from outrider.broker.hedge_rule import LOOK_S, p95_s
from outrider.broker.routing import Choice, RouteReason, RouteRequest, RouteTask
from outrider.ledger.entries import Hedged
from outrider.orchestrator import attempts
from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.dispatch import fits, is_sound, route_agent
from outrider.orchestrator.fallback import choose
from outrider.orchestrator.instructions import Route
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import TaskPhase


def is_time(m: Memory, task: TaskRecord) -> bool:
    """Whether the task has run past its hour and nothing else is to be done for it now."""
    if task.hedge_at is None or m.now < task.hedge_at or task.phase is not TaskPhase.RUNNING:
        return False
    is_over = m.now >= task.lease_until or (task.deadline is not None and m.now >= task.deadline)
    return not is_over and task.story.pair is None and task.writing is None and m.is_mine(task)


def look(m: Memory, task: TaskRecord) -> None:
    """Ask the router for a second agent, if one may be asked now; look again later."""
    task.hedge_at = m.now + LOOK_S
    is_asked = m.round is not None or task.task_id in m.hedges.asked.values()
    agents = [] if is_asked else _idle(m, task)
    if agents:
        _ask(m, task, agents)
    attempts.set_timer(m, task)


def _idle(m: Memory, task: TaskRecord) -> list[AgentRecord]:
    """Other agents with a slot that nobody waits for; none while something forbids a second attempt.

    A task that the router is being asked about may go to any agent that can do it.
    """
    if not m.is_linked or m.is_ledger_full or m.pauses.covers(task.kind):
        return []
    if m.limits.is_used and m.limits.places(task.kind, task.limit_key):
        return []
    if not m.hedges.has_one(m.counters["attempts"], m.thresholds.hedge_share):
        return []
    waiting = {kind for kind in (*m.ready.kinds(), *m.aside) if not m.pauses.covers(kind)}
    asked = Counter(one.kind for one in m.round.tasks.values()) if m.round is not None else Counter[str]()
    first = task.story.agent_id
    return [
        agent
        for agent in islice(m.agents.available(task.kind), m.thresholds.most_candidates)
        if agent.agent_id != first
        and fits(agent, task)
        and waiting.isdisjoint(agent.kinds)
        and agent.free > sum(asked[kind] for kind in asked.keys() & agent.kinds)
    ]


def _ask(m: Memory, task: TaskRecord, agents: list[AgentRecord]) -> None:
    m.rounds += 1
    m.hedges.asked[m.rounds] = task.task_id
    left_s = task.deadline - m.now if task.deadline is not None else None
    asked = RouteTask(task.task_id, task.kind, task.priority, task.story.newest + 1, task.facts, None, left_s)
    m.out.append(Route(m.rounds, RouteRequest((asked,), tuple(route_agent(a, (task.kind,)) for a in agents))))


def routed(m: Memory, number: int, choices: tuple[Choice, ...], model: str) -> None:
    """Begin the second attempt where the router wants it, if all still holds; none is a fair answer too."""
    task = _asked(m, number)
    choice = next((c for c in choices if task is not None and c.task_id == task.task_id), None)
    if task is None or choice is None:
        return
    if choice.agent_id != task.story.agent_id and is_sound(m, task, choice):
        if any(agent.agent_id == choice.agent_id for agent in _idle(m, task)):
            begin(m, task, choice, model)
        return
    m.counters["router_bad_answers"] += 1
    _by_rule(m, task, RouteReason.FALLBACK_BAD_ANSWER)


def route_failed(m: Memory, number: int, reason: RouteReason) -> None:
    """The router is silent: the built-in rule chooses."""
    task = _asked(m, number)
    if task is not None:
        _by_rule(m, task, reason)


def _asked(m: Memory, number: int) -> TaskRecord | None:
    """The task of a question, if it still runs alone."""
    task = m.tasks.get(m.hedges.asked.pop(number))
    if task is None or task.phase is not TaskPhase.RUNNING or task.writing is not None:
        return None
    return task if task.story.pair is None and m.is_mine(task) else None


def _by_rule(m: Memory, task: TaskRecord, reason: RouteReason) -> None:
    agents = [route_agent(agent, (task.kind,)) for agent in _idle(m, task)]
    choice = choose(task.task_id, task.kind, agents, Counter(), reason)
    if choice is not None:
        begin(m, task, choice, "rule")


def begin(m: Memory, task: TaskRecord, choice: Choice, model: str) -> None:
    """Ask the ledger for the second attempt; both agents hear of it once it is stored."""
    agent, story = m.agents.enter(choice.agent_id), task.story
    first = story.assigned
    p50_s, p90_s = (first.p50_s or 0.0, first.p90_s or 0.0) if first is not None else (0.0, 0.0)
    entry = Hedged(
        task_id=task.task_id,
        attempt=story.newest + 1,
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
        waiting_s=first.waiting_s if first is not None else 0.0,
        ran_s=m.now - task.accepted_at if task.accepted_at is not None else 0.0,
        expected_s=p95_s(p50_s, p90_s),
    )
    m.hedges.spend()
    m.agents.occupy(agent.agent_id, task.task_id)
    attempts.write(m, task, entry)
