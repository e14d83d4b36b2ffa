"""Who is alive: joins, heartbeats, pings, and what becomes of the attempts of an agent that is not.

Pure functions over Memory. An orchestrator whose own link or loop stalled blames nobody.
"""

from __future__ import annotations

from outrider.broker.outcomes import Failed
from outrider.broker.states import AgentState
from outrider.ledger.entries import Member
from outrider.orchestrator import pairs
from outrider.orchestrator.agent_table import AgentRecord
from outrider.orchestrator.attempts import end_attempt, set_timer, take_charge
from outrider.orchestrator.events import AgentBeat, AgentJoined, ProgressSeen
from outrider.orchestrator.instructions import PingAgent, Release, StopAttempt, WriteMember
from outrider.orchestrator.model import Memory, SecondRun, TaskRecord
from outrider.orchestrator.stopping import stop
from outrider.orchestrator.transitions import LIVE, TaskPhase, Trigger

CHECK_EVERY_S = 1.0

MOST_OWNERS = 1_000


def joined(m: Memory, event: AgentJoined) -> None:
    """An instance has the name now; what an earlier instance ran and did not spool is lost."""
    welcome(m, event, keep={s.epoch for s in event.spooled})


def welcome(m: Memory, event: AgentJoined, keep: set[int]) -> None:
    """Take an instance in; of its name's attempts only those in `keep` may live on if it is a new one."""
    agent = m.agents.enter(event.agent_id)
    is_new = agent.instance != event.instance
    was_gone = agent.state is AgentState.OFFLINE
    agent.instance, agent.slots, agent.labels, agent.host = (
        event.instance,
        event.slots,
        event.labels,
        event.host,
    )
    heard(m, agent)
    agent.state = AgentState.ONLINE
    agent.cool_until, agent.is_probing, agent.uncharged_in_a_row = 0.0, False, 0
    m.agents.declare(agent, event.kinds)
    if is_new:
        agent.stopping.clear()
        lose_all(m, agent, "the agent restarted", keep=keep)
    if is_new or was_gone:
        announce(m, agent, "joined")


def member_stored(m: Memory, member: Member) -> None:
    """Learn of an agent from the ledger: it counts as present only once it is heard."""
    agent = m.agents.enter(member.agent_id)
    if member.type != "joined":
        return
    if agent.instance != member.instance:
        agent.instance = member.instance
        agent.state = AgentState.SUSPECT
    agent.slots, agent.labels, agent.host = member.slots, member.labels, member.host
    heard(m, agent)
    agent.pinged_at = 0.0
    m.agents.declare(agent, member.kinds)


def announce(m: Memory, agent: AgentRecord, type_: str, why: str = "") -> None:
    member = Member(
        agent.agent_id, type_, agent.instance, agent.kinds, agent.slots, agent.labels, agent.host, why
    )
    m.out.append(WriteMember(member))


def heard(m: Memory, agent: AgentRecord) -> None:
    agent.heard_at = m.now
    agent.unanswered = 0


def beat(m: Memory, event: AgentBeat) -> None:
    """A sign of life: the agent is back if it was missed, and tells which attempts it has."""
    if _is_unmet(m, event):
        join = AgentJoined(
            event.agent_id, event.instance, event.kinds or (), event.slots, event.labels or (), (), ""
        )
        welcome(m, join, keep=set(event.running | event.spooled))
    agent = m.agents.get(event.agent_id)
    if agent is None or (agent.instance and agent.instance != event.instance):
        m.counters["beats_of_unknown_agents"] += 1
        return
    was = agent.state
    heard(m, agent)
    if event.state is AgentState.OFFLINE:
        if was is not AgentState.OFFLINE:
            go_offline(m, agent, "it left", in_order=True)
        return
    agent.slots = event.slots
    if event.labels is not None:
        agent.labels = event.labels
    if event.kinds is not None and event.kinds != agent.kinds:
        m.agents.declare(agent, event.kinds)
    agent.state = _state_now(m, agent, event.state)
    m.agents.refresh(agent)
    if was is AgentState.OFFLINE:
        announce(m, agent, "back")
    for task_id in list(agent.tasks):
        _compare(m, m.tasks.get(task_id), agent, event)
    m.out += [agent.stopping[epoch] for epoch in sorted(event.running & agent.stopping.keys())]


def _is_unmet(m: Memory, event: AgentBeat) -> bool:
    """An instance beats that joined elsewhere, and whoever let it in died before the ledger had it."""
    if not m.is_recovered or not event.kinds or event.state is AgentState.OFFLINE:
        return False
    agent = m.agents.get(event.agent_id)
    if agent is None or not agent.instance:
        return True
    return agent.instance != event.instance and agent.state is AgentState.OFFLINE


def _state_now(m: Memory, agent: AgentRecord, said: AgentState) -> AgentState:
    if said is AgentState.DRAINING:
        return AgentState.DRAINING
    return AgentState.COOLING_DOWN if m.now < agent.cool_until else AgentState.ONLINE


def _compare(m: Memory, task: TaskRecord | None, agent: AgentRecord, event: AgentBeat) -> None:
    """An attempt that its agent accepted and does not name in two beats is lost."""
    run = pairs.run_on(task, agent.agent_id) if task is not None else None
    if task is None or run is None or task.phase not in LIVE:
        return
    if any(e in event.running or e in event.spooled for e in pairs.epochs_of(task, run)):
        run.missing_in_beats = 0
        second = run if isinstance(run, SecondRun) else None
        if task.phase is TaskPhase.ASSIGNED if second is None else second.accepted_at is None:
            accepted(m, task, second)
        if (
            task.story.pair is not None
            and task.story.epoch not in event.running | event.spooled
            and m.is_mine(task)
        ):
            pairs.renew(m, task, agent.agent_id)
        return
    if run.accepted_at is None or m.now - run.accepted_at < CHECK_EVERY_S:
        return
    run.missing_in_beats += 1
    if run.missing_in_beats >= 2 and m.is_mine(task):
        _lose(m, task, run, "the agent does not have it any more", charged=True)


def _lose(m: Memory, task: TaskRecord, run: TaskRecord | SecondRun, why: str, *, charged: bool) -> None:
    second = run if isinstance(run, SecondRun) else None
    end_attempt(m, task, "lost", why, charged=charged, second=second)


def accepted(m: Memory, task: TaskRecord, second: SecondRun | None = None) -> None:
    """The agent runs the attempt: the first, or the `second` of two."""
    if second is not None:
        second.accepted_at = m.now if second.accepted_at is None else second.accepted_at
        return
    task.move(Trigger.ACCEPTED)
    task.accepted_at = m.now if task.accepted_at is None else task.accepted_at
    if task.may_hedge:
        pairs.plan_hedge(m, task)


def progress_seen(m: Memory, event: ProgressSeen) -> None:
    """A chunk of an attempt passed by: it runs, and its lease is renewed."""
    task = m.tasks.get(event.task_id)
    if task is None or task.phase not in LIVE:
        return
    second = task.second
    if second is not None and (second.attempt, second.agent_id) == (event.attempt, event.agent_id):
        accepted(m, task, second)
        _extend(m, task, second)
        return
    if task.story.attempt != event.attempt or task.story.agent_id != event.agent_id:
        return
    if task.phase is TaskPhase.ASSIGNED:
        accepted(m, task)
        m.out.append(Release(event.task_id))
    _extend(m, task, task)


def _extend(m: Memory, task: TaskRecord, run: TaskRecord | SecondRun) -> None:
    """Renew the lease of an attempt that shows progress."""
    other = task.story.other
    assigned = other.entry if isinstance(run, SecondRun) and other is not None else task.story.assigned
    predicted = assigned.p90_s if assigned is not None and assigned.p90_s else 0.0
    lease_s = max(m.thresholds.lease_floor_s, predicted * m.thresholds.lease_factor)
    run.lease_until = min(run.last_end, m.now + lease_s)
    set_timer(m, task)


def unreachable(m: Memory, agent_id: str) -> None:
    """Nobody listens under the agent's name: once is an accident, twice in a row it is gone."""
    agent = m.agents.get(agent_id)
    if agent is None or not m.is_linked or agent.state is AgentState.OFFLINE:
        return
    agent.unanswered += 1
    agent.pinged_at = m.now - m.thresholds.ping_every_s + CHECK_EVERY_S
    if agent.unanswered >= m.thresholds.pings_unanswered:
        go_offline(m, agent, "nobody listens under its name")
    else:
        suspect(m, agent, "did not answer")


def suspect(m: Memory, agent: AgentRecord, why: str) -> None:
    """Nothing new for this agent until it is heard again."""
    if agent.state in (AgentState.ONLINE, AgentState.COOLING_DOWN):
        agent.state = AgentState.SUSPECT
        m.agents.refresh(agent)
        announce(m, agent, "suspect", why)


def go_offline(m: Memory, agent: AgentRecord, why: str, *, in_order: bool = False) -> None:
    """The agent is gone; its attempts are lost and run elsewhere. One that had drained just left.

    An agent that says good-bye was stopped, perhaps for a deploy: its tasks are not charged for that.
    """
    drained = agent.state is AgentState.DRAINING and not agent.tasks
    agent.state = AgentState.OFFLINE
    m.agents.refresh(agent)
    announce(m, agent, "drained" if drained else "offline", why)
    lose_all(m, agent, why, is_charged=not in_order)


def lose_all(
    m: Memory, agent: AgentRecord, why: str, keep: set[int] | None = None, *, is_charged: bool = True
) -> None:
    for task_id in list(agent.tasks):
        task = m.tasks.get(task_id)
        run = pairs.run_on(task, agent.agent_id) if task is not None else None
        if task is None or run is None or task.phase not in LIVE or not m.is_mine(task):
            continue
        if not keep or keep.isdisjoint(pairs.epochs_of(task, run)):
            _lose(m, task, run, why, charged=is_charged and run.accepted_at is not None)


def accepted_in_vain(m: Memory, task_id: str, epoch: int) -> None:
    """An agent took what was sent to it again although it had failed there before a restart."""
    task = m.tasks.get(task_id)
    last = task.story.last if task is not None and task.phase not in LIVE else None
    if isinstance(last, Failed) and last.epoch == epoch:
        stop(m, StopAttempt(last.agent_id, task_id, epoch, last.type))


def check(m: Memory) -> None:
    """Look at every agent, at most once a second; a stalled orchestrator starts counting anew."""
    stalled = m.now - m.ticked_at > m.thresholds.loop_stall_s
    m.ticked_at = m.now
    if stalled or not m.is_linked:
        forgive(m)
        return
    if m.now - m.checked_at < CHECK_EVERY_S or not m.is_recovered:
        return
    m.checked_at = m.now
    for agent in m.agents:
        _check_agent(m, agent)
    _check_owners(m)


def forgive(m: Memory) -> None:
    """We did not listen, so nobody was silent."""
    for agent in m.agents:
        agent.heard_at = max(agent.heard_at, m.now)
        agent.unanswered = 0
        # It may have lost the link too: let it come back before it is asked.
        agent.pinged_at = m.now
    for owner in m.owners:
        m.owners[owner] = m.now


def _check_agent(m: Memory, agent: AgentRecord) -> None:
    limits = m.thresholds
    if agent.state is AgentState.OFFLINE:
        return
    silence = m.now - agent.heard_at
    if silence > limits.offline_after_s:
        go_offline(m, agent, f"silent for {silence:.0f} s")
        return
    if silence > limits.heartbeat_s * limits.suspect_after_beats:
        suspect(m, agent, f"silent for {silence:.0f} s")
    if agent.state is AgentState.COOLING_DOWN and m.now >= agent.cool_until:
        agent.state, agent.is_probing = AgentState.ONLINE, True
        m.agents.refresh(agent)
    is_watched = agent.tasks or agent.state in (AgentState.SUSPECT, AgentState.DRAINING)
    if is_watched and m.now - agent.pinged_at >= limits.ping_every_s:
        agent.pinged_at = m.now
        m.out.append(PingAgent(agent.agent_id, agent.instance))


def _check_owners(m: Memory) -> None:
    """Take over the tasks of orchestrators that fell silent, once."""
    if len(m.owners) > MOST_OWNERS:
        _forget_owners(m)
    limit = m.thresholds.owner_silent_s
    silent = {o for o, at in m.owners.items() if m.now - at > limit} - m.inherited
    if not silent:
        return
    m.inherited |= silent
    m.counters["owners_taken_over"] += len(silent)
    for task in list(m.tasks.values()):
        if task.story.owner in silent and task.writing is None:
            take_charge(m, task)


def _forget_owners(m: Memory) -> None:
    """Orchestrators that are gone and own nothing any more; every start of one makes a new id."""
    owning = {task.story.owner for task in m.tasks.values()}
    for owner in m.inherited - owning:
        m.inherited.discard(owner)
        m.owners.pop(owner, None)
