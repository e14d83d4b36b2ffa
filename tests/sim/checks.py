"""What must hold after every event and at the end; each broken rule is one line that names it.

Ledger entries are judged by law.py, which shares no code with the product; handlers by their own log.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from outrider.broker.flows import OnFailure
from outrider.broker.messages import Assignment
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import parse_ledger, parse_task
from outrider.ledger.entries import Assigned, Blocked, Closed, Ended, Entry, Hedged, Member
from outrider.ledger.fold import Story
from tests.sim.fake_agents import FakeAgent
from tests.sim.fake_client import Order
from tests.sim.fake_jetstream import Message
from tests.sim.fake_server import FakeServer
from tests.sim.handler_log import HandlerLog
from tests.sim.law import Case, pause_s
from tests.sim.scenario import Scenario

SLACK_S = 0.01
SETTLED_WITHIN_S = 9.0
SWEPT_WITHIN_S = 25.0
"""Recovery, two sweeps, and what they wait for when something on the way was lost."""
READ_WITHIN_S = 5.0
"""So old may be what was read when what follows from it is stored."""
CANCELLED_WITHIN_S = 9.0
"""A few seconds more than two rounds of asking, for what was buffered when the faults stopped."""


class LedgerChecks:
    """Sees every store and every removal at the moment it happens."""

    def __init__(
        self, scenario: Scenario, server: FakeServer, orders: dict[str, Order], log: HandlerLog
    ) -> None:
        self._scenario = scenario
        self._limits = scenario.thresholds
        self._server = server
        self.orders = orders
        """What was submitted, and what was requeued."""
        self._log = log
        self.violations: list[str] = []
        self._queued: dict[str, float] = {}
        """Every task that was ever in the queue, and since when."""
        self.cases: dict[str, Case] = {}
        self.stories: dict[str, Story] = {}
        """The product's own fold, beside the law's."""
        self.late: dict[str, str] = {}
        """Tasks that one of two live attempts finished, and the agent of the other."""
        self.issued: dict[int, Assigned | Hedged] = {}
        """Assignments that count, second ones too, by the epoch at which they began."""
        self.agents: dict[str, FakeAgent] = {}
        self.calm_since: float | None = None
        """When the last fault was mended."""

    def broken(self, rule: str, what: object = "") -> None:
        line = f"{self._server.loop.now:.3f}: {rule}" + (f": {what}" if what else "")
        self._server.loop.trace("VIOLATION", line)
        self.violations.append(line)

    def must(self, holds: bool, rule: str, what: object = "") -> None:
        if not holds:
            self.broken(rule, what)

    def case(self, task_id: str) -> Case:
        return self.cases.setdefault(task_id, Case(task_id))

    def order(self, task_id: str) -> Order:
        return self.orders[task_id]

    def stored(self, message: Message) -> None:
        """A message is in a stream now."""
        if ".task." in message.subject:
            self._queued.setdefault(parse_task(message.subject)[2], self._server.loop.now)
        if isinstance(message.data, Member) or ".ledger." not in message.subject:
            return
        where, entry = parse_ledger(message.subject), message.data
        case = self.case(where.task_id)
        was = case.lives.get(getattr(entry, "attempt", 0), ("", 0, 0.0))
        before = (case.charged, case.uncharged_in_a_row, case.last, case.last_at, was[1], was[2])
        lives = dict(case.lives)
        why = case.judge(message.seq, where.role, where.writer, entry, self._server.loop.now)
        story = self.stories.setdefault(where.task_id, Story(where.task_id))
        story.apply(message.seq, where, entry)
        self._compare(case, story)
        if not why:
            self._judge_content(case, entry, before)
            if isinstance(entry, Succeeded) and len(lives) > 1:
                self.late[entry.task_id] = next(a for n, (a, _, _) in lives.items() if n != entry.attempt)
        elif where.role == "orchestrator":
            self.broken("what an orchestrator writes counts", f"{why}: {entry}")
        elif not self.agents[where.writer].profile.temper.may_lie:
            self.broken("what an honest agent writes counts", f"{why}: {entry}")

    def _compare(self, case: Case, story: Story) -> None:
        law = (case.state, case.epoch, case.expect, case.attempt, case.charged, case.uncharged_in_a_row)
        fold = (
            story.phase.value,
            story.epoch,
            story.expect,
            story.newest,
            story.charged,
            story.uncharged_in_a_row,
        )
        self.must(law == fold, "fold and law agree", f"{case.task_id}: law {law}, fold {fold}")
        self.must(len(case.terminal) <= 1, "one terminal entry", case.task_id)
        self.must(len(case.lives) <= 2, "never more than two live attempts", case.task_id)

    def _judge_content(self, case: Case, entry: Entry, before: tuple[Any, ...]) -> None:
        if isinstance(entry, Assigned):
            self._judge_assigned(case, entry, before)
        elif isinstance(entry, Hedged):
            self.issued[case.epoch] = entry
            self.must(self.orders[case.task_id].envelope.hedge is True, "nothing is hedged unasked", entry)
        elif isinstance(entry, (Succeeded, Failed)):
            self._judge_outcome(entry, before[4])
        elif isinstance(entry, Ended):
            self._judge_ended(entry, before[4], before[5])
        elif isinstance(entry, Blocked):
            self.must(entry.envelope is not None, "blocked carries the task", entry)
        elif isinstance(entry, Closed):
            self._judge_closed(case, entry, before)

    def _judge_assigned(self, case: Case, entry: Assigned, before: tuple[Any, ...]) -> None:
        charged, uncharged, last, last_at, _, _ = before
        order = self.orders[case.task_id]
        self.issued[case.epoch] = entry
        carries = entry.envelope is not None or isinstance(last, Blocked)
        self.must(entry.attempt > 1 or carries, "attempt 1 carries the task", entry)
        self._judge_start(order, entry)
        self.must(charged < order.envelope.max_attempts, "no attempt without budget", entry)
        self.must(uncharged < self._limits.uncharged_before_dead, "what never starts is given up", entry)
        is_poison = len(case.lost_on) >= self._limits.lost_before_poison
        self.must(not is_poison, "what killed several agents is not run again", entry)
        if isinstance(last, Failed):
            self.must(last.error.retryable, "what cannot be retried is not", entry)
            least_s = pause_s(
                case.task_id,
                max(1, charged),
                self._limits.backoff_first_s,
                self._limits.backoff_cap_s,
                last.error.retry_after_s,
            )
            is_stopped = last.error.error_class is ErrorClass.INTERRUPTED
            if is_stopped and uncharged < self._limits.uncharged_before_backoff:
                least_s = 0.0
            waited_s = self._server.loop.now - last_at
            self.must(waited_s >= least_s - SLACK_S, "backoff as the hash says", f"{waited_s} < {least_s}")

    def _judge_start(self, order: Order, entry: Assigned) -> None:
        """A child never starts before its parents ended, nor when one of them failed that it depends on."""
        waits = order.envelope.waits
        if waits is None:
            return
        for parent in waits.ids():
            ends = self.case(parent).terminal
            self.must(bool(ends), "no child starts before its parents ended", f"{entry.task_id}: {parent}")
            is_good = waits.on_failure is OnFailure.RUN or ends == ["succeeded"]
            self.must(is_good, "no child starts after a failed parent", f"{entry.task_id}: {parent}")

    def _is_cancelled_by_parent(self, order: Order) -> bool:
        waits = order.envelope.waits
        if waits is None or waits.on_failure is OnFailure.RUN:
            return False
        return any(self.case(parent).terminal not in ([], ["succeeded"]) for parent in waits.ids())

    def _is_parent_unknown(self, order: Order) -> bool:
        """Its client never knew whether a parent was stored, or is still trying."""
        waits = order.envelope.waits
        parents = [] if waits is None else list(waits.ids())
        read_at = self._server.loop.now - READ_WITHIN_S
        return any(self._queued.get(p, read_at) >= read_at and not self.case(p).epoch for p in parents)

    def _judge_outcome(self, entry: Succeeded | Failed, begun: int) -> None:
        given = self.issued.get(begun)
        is_issued = given is not None and (given.task_id, given.agent_id) == (entry.task_id, entry.agent_id)
        self.must(is_issued, "a recorded outcome carries an issued epoch of that agent", entry)
        said = self._log.said.get((entry.task_id, begun, entry.agent_id), set())
        what = (entry.result_ref or entry.result) if isinstance(entry, Succeeded) else entry.error.message
        self.must(what in said, "a recorded outcome is what the handler said", entry)

    def _judge_ended(self, entry: Ended, begun: int, assigned_at: float) -> None:
        now = self._server.loop.now
        started = begun in self._log.started
        if entry.type == "rejected":
            self.must(not entry.charged, "a rejected attempt is not charged", entry)
        if entry.type == "lost":
            self.must(started or not entry.charged, "what never started is not charged", entry)
            has_left = entry.why == "it left"
            self.must(not (has_left and entry.charged), "who leaves in order costs nothing", entry)
        if entry.type == "timed_out":
            timeout_s = self.orders[entry.task_id].envelope.timeout_s or self._limits.default_timeout_s
            least_s = min(timeout_s + self._limits.timeout_grace_s, self._limits.lease_floor_s)
            self.must(now - assigned_at >= least_s - SLACK_S, "no attempt times out early", entry)
            self._judge_silence(entry, begun, assigned_at)
            self._judge_death(entry, assigned_at)

    def could_beat(self, agent_id: str) -> bool:
        """Whether nothing kept this agent from beating for as long as makes it offline."""
        agent, since = self.agents[agent_id], self._server.loop.now - self._limits.offline_after_s
        can_beat = agent.is_alive and not agent.is_frozen and agent.link.is_up and not agent.link.is_black
        is_undisturbed = max(agent.troubled_at, self._server.troubled_at) < since
        return can_beat and is_undisturbed and not self._scenario.is_dropping

    def _judge_silence(self, entry: Ended, begun: int, assigned_at: float) -> None:
        """An agent that could hear must have heard of an attempt that is said to have taken too long."""
        now, agent = self._server.loop.now, self.agents[entry.agent_id]
        since = max(assigned_at, agent.troubled_at, self.calm_since if self.calm_since is not None else now)
        is_overdue = now - since > 2 * self._limits.resend_assign_s + 3.0
        could_hear = agent.is_alive and not agent.is_frozen and agent.link.is_up and is_overdue
        was_told = begun in self._log.told
        self.must(was_told or not could_hear, "an assignment is sent until it is heard", entry)

    def _judge_death(self, entry: Ended, assigned_at: float) -> None:
        """What ran on an agent that died is lost within a few pings, not left until its time is up."""
        now, agent = self._server.loop.now, self.agents[entry.agent_id]
        since = max(assigned_at, agent.troubled_at, self.calm_since if self.calm_since is not None else now)
        is_overdue = now - since > 3 * self._limits.ping_every_s + 3.0
        self.must(agent.is_alive or not is_overdue, "a dead agent's attempts are lost at once", entry)

    def _judge_closed(self, case: Case, entry: Closed, before: tuple[Any, ...]) -> None:
        charged, uncharged, last, _, _, _ = before
        order = self.orders[case.task_id]
        now = self._server.loop.now
        if charged + uncharged == 0:
            self._judge_sweep(order, entry)
        if entry.type == "cancelled":
            is_meant = order.cancel_asked_at is not None or self._is_cancelled_by_parent(order)
            self.must(is_meant, "nothing is cancelled unasked", entry)
        if entry.type == "expired" and not self._scenario.is_skewed:
            is_late = order.deadline is not None and now >= order.deadline - SLACK_S
            self.must(is_late, "nothing expires before its deadline", entry)
        if entry.type == "dead":
            is_hopeless = (
                order.is_malformed
                or charged >= order.envelope.max_attempts
                or uncharged >= self._limits.uncharged_before_dead
                or len(case.lost_on) >= self._limits.lost_before_poison
                or self._is_parent_unknown(order)
                or (isinstance(last, Failed) and not last.error.retryable)
                or case.is_hopeless
            )
            self.must(is_hopeless, "nothing is given up without reason", entry)
            is_poison = len(case.lost_on) >= self._limits.lost_before_poison
            said_so = entry.error_class == "poison"
            self.must(is_poison or not said_so, "poison killed several agents", entry)

    def _judge_sweep(self, order: Order, entry: Closed) -> None:
        """What waits in vain, or makes no sense, is ended soon, whether or not anybody can do its kind."""
        is_swept = entry.type == "expired" or order.is_malformed
        if not is_swept or self.calm_since is None or order.accepted_at is None:
            return
        since = max(self.calm_since, order.accepted_at)
        if not order.is_malformed and order.deadline is not None:
            since = max(since, order.deadline)
        is_soon = self._server.loop.now - since < SWEPT_WITHIN_S
        self.must(is_soon, "what cannot be done any more is ended soon", entry)

    def removed(self, message: Message) -> None:
        """A task leaves the queue."""
        task_id = parse_task(message.subject)[2]
        self.must(self.case(task_id).epoch > 0, "the queue forgets only what the ledger knows", task_id)

    def told(self, agent_id: str, assignment: Assignment) -> None:
        """An agent hears of an attempt."""
        given = self.issued.get(assignment.epoch)
        is_issued = given is not None and (given.task_id, given.attempt, given.agent_id) == (
            assignment.task_id,
            assignment.attempt,
            agent_id,
        )
        self.must(is_issued, "an agent is told only what the ledger holds", assignment)

    def check_cancel(self, order: Order) -> None:
        """In calm times a cancel ends its task soon, and whoever asked is told."""
        asked_at, calm_since = order.cancel_asked_at, self.calm_since
        if asked_at is None or order.accepted_at is None or calm_since is None or order.is_malformed:
            return
        since, case = max(asked_at, calm_since, order.accepted_at), self.case(order.task_id)
        self.must(case.last_at < since + CANCELLED_WITHIN_S, "a cancel ends the task soon", order)
        is_told = order.cancel_answered_at is not None or self._server.loop.now < since + CANCELLED_WITHIN_S
        self.must(is_told, "a cancel is answered", order)

    def check_leftovers(self, agent: FakeAgent) -> None:
        """Every outcome is settled, and what is over does not run on: what hangs is stopped at a beat."""
        since = max(agent.troubled_at, self.calm_since or 0.0)
        is_settled = not agent.spool or self._server.loop.now - since < SETTLED_WITHIN_S
        self.must(is_settled, "every outcome is settled", agent.spool)
        if agent.profile.temper.may_lie:
            return
        for running in agent.running.values():
            over_at = max(since, self.case(running.assignment.task_id).last_at)
            is_overdue = self._server.loop.now - over_at > self._limits.heartbeat_s + 3.0
            self.must(not is_overdue, "no handler runs on", running)

    def unfinished(self) -> list[str]:
        """Stored tasks without a terminal entry: accepted ones, and those whose client never heard so."""
        return [task_id for task_id in self._queued if self.case(task_id).state != "closed"]

    def outcomes(self) -> Counter[str]:
        return Counter(case.terminal[0] for case in self.cases.values() if case.terminal)
