"""What must hold in an orchestrator's memory after every event; every test of the core ends by checking it.

Pure. A broken invariant is a bug of ours.
"""

from __future__ import annotations

from collections import Counter

from outrider.broker.errors import OutriderError
from outrider.ledger.entries import Assigned, Hedged
from outrider.ledger.rules import Phase
from outrider.orchestrator.limit_book import PROVIDER
from outrider.orchestrator.limit_bucket import BucketName
from outrider.orchestrator.model import Memory, TaskRecord
from outrider.orchestrator.transitions import LIVE, TaskPhase


class BrokenInvariant(OutriderError):
    """An orchestrator's memory contradicts itself."""

    code = "broken_invariant"


def _must(holds: bool, rule: str, record: object = "") -> None:
    # The record is written out only when it is needed: this runs after every event of every test.
    if not holds:
        raise BrokenInvariant(f"{rule}: {record}")


def check_invariants(m: Memory) -> None:
    """Raises BrokenInvariant that names the rule and the record."""
    for task in m.tasks.values():
        _check_task(m, task)
        if task.second is not None or task.story.pair is not None:
            _check_pair(m, task)
    _check_slots(m)
    _check_held(m)
    _check_barriers(m)
    _check_limits(m)
    _must(m.round is None or m.round.number == m.rounds, "the open round is the newest")


def _check_task(m: Memory, task: TaskRecord) -> None:
    story, phase = task.story, task.phase
    _must(phase is not TaskPhase.CLOSED, "closed tasks are forgotten", task)
    _must(not story.is_terminal, "terminal tasks are forgotten", task)
    _must(story.envelope is None or story.envelope.payload is None, "no payload in memory", task)
    stored = story.phase is Phase.LIVE or task.writing is not None
    _must(phase not in LIVE or stored, "what runs has a stored epoch", task)
    _must(
        not task.is_in_queue or story.phase is Phase.UNWRITTEN,
        "what the ledger knows left the queue",
        task,
    )
    asked = m.round is not None and task.task_id in m.round.tasks
    _must(phase is not TaskPhase.ROUTING or asked, "routing only in a round", task)
    is_writing = isinstance(task.writing, Assigned)
    _must(phase is not TaskPhase.ASSIGNING or is_writing, "assigning is a write under way", task)


def _check_slots(m: Memory) -> None:
    for agent in m.agents:
        for task_id in agent.tasks:
            task = m.tasks.get(task_id)
            if task is None:
                raise BrokenInvariant(f"{agent.agent_id} holds a slot for the unknown task {task_id}")
            writes_to = task.writing.agent_id if isinstance(task.writing, (Assigned, Hedged)) else None
            second = task.second.agent_id if task.second is not None else None
            is_known = agent.agent_id in (task.story.agent_id, writes_to, second)
            _must(is_known, "slot of a foreign attempt", task)


def _check_pair(m: Memory, task: TaskRecord) -> None:
    """Two live attempts are the story's two, on two agents, each with a slot."""
    other = task.story.other if task.phase in LIVE else None
    second = task.second
    if task.writing is not None:
        return
    _must((other is None) == (second is None), "a second attempt is the story's", task)
    if second is None or other is None:
        return
    _must((second.begun, second.agent_id) == (other.begun, other.agent_id), "the second is the other", task)
    _must(second.agent_id != task.story.agent_id, "two attempts run on two agents", task)
    for agent_id in (task.story.agent_id, second.agent_id):
        agent = m.agents.get(agent_id)
        _must(agent is not None and task.task_id in agent.tasks, "each of two attempts has its slot", task)


def _check_limits(m: Memory) -> None:
    """A limit's slots are those of the agents, no more and no less; a refusal counts later ones."""
    occupants = {task_id for agent in m.agents for task_id in agent.tasks}
    _must(m.limits.holding.keys() <= occupants, "who counts against a limit occupies an agent")
    held: dict[BucketName, set[str]] = {}
    for task_id in occupants if m.limits.is_used else ():
        task = m.tasks[task_id]
        for bucket in m.limits.places(task.kind, task.limit_key):
            held.setdefault(bucket.name, set()).add(task_id)
    for bucket in m.limits.buckets.values():
        holders, occupying = bucket.holders.keys(), held.get(bucket.name, set())
        _must(holders <= occupying, "no slot of a limit leaks", bucket)
        _must(holders == occupying or bucket.name[0] == PROVIDER, "every slot of a limit is counted", bucket)
        _must(bucket.unbegun.keys() <= holders, "who begins holds a slot", bucket)


def _check_held(m: Memory) -> None:
    counted = Counter((t.kind, t.priority) for t in m.tasks.values() if t.is_in_queue)
    for key in counted.keys() | m.held.keys():
        if counted[key] != m.held[key]:
            raise BrokenInvariant(f"held count of {key}: {m.held[key]}, really {counted[key]}")


def _check_barriers(m: Memory) -> None:
    for task in m.tasks.values():
        is_waiting = task.task_id in m.barriers.waiting
        _must(is_waiting == (task.phase is TaskPhase.BLOCKED), "who is blocked waits for something", task)
        is_idle = task.phase is TaskPhase.BLOCKED and task.writing is None and m.is_mine(task)
        if is_idle and m.is_recovered:
            _must(bool(m.barriers.waiting[task.task_id].left), "who waits for nothing goes on", task)
    for barrier in m.barriers.waiting.values():
        _must(barrier.task_id in m.tasks, "who waits is known", barrier)
        _must(barrier.left == len(barrier.open) + sum(barrier.open_members), "open ones are counted", barrier)
