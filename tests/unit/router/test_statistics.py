"""What is learned from the ledger: the same from the same entries, bounded, and only from who may say it."""

import random
from dataclasses import replace
from math import exp, log
from typing import Any

import pytest

from outrider.broker.codec import encode
from outrider.broker.facts import TaskFacts
from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned
from outrider.router import statistics as module
from outrider.router.beliefs import AgentStats, PairStats, prior, seconds_of
from outrider.router.dataset import RowBuilder
from outrider.router.folding import fold
from outrider.router.statistics import Statistics

SUBJECTS = Subjects("t")
Entry = tuple[str, bytes, int, float]


UNPREDICTED = RouteReason.FALLBACK_NO_ROUTER


class Ledger:
    """A ledger in memory, written as the orchestrator and the agents write it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.now = 1_000.0

    def add(self, subject: str, entry: Any, after_s: float = 0.0) -> int:
        self.now += after_s
        self.entries.append((subject, encode(entry), len(self.entries) + 1, self.now))
        return len(self.entries)

    def assign(self, task_id: str, agent: str, **more: Any) -> int:
        entry = Assigned(task_id, 1, agent, "i", 0, "chat", 5, RouteReason.MODEL, slots=2, p50_s=2.0)
        return self.add(SUBJECTS.ledger_orchestrator(task_id, "o1"), replace(entry, **more))

    def succeed(self, task_id: str, agent: str, epoch: int, seconds: float, *, writer: str = "") -> None:
        entry = Succeeded(task_id, 1, agent, epoch, service_s=seconds)
        self.add(SUBJECTS.ledger_agent(task_id, writer or agent), entry, after_s=seconds)

    def fail(
        self,
        task_id: str,
        agent: str,
        epoch: int,
        seconds: float,
        why: ErrorClass = ErrorClass.RATE_LIMITED,
    ) -> None:
        error = AttemptError(why, "why", True)
        entry = Failed(task_id, 1, agent, epoch, error, service_s=seconds)
        self.add(SUBJECTS.ledger_agent(task_id, agent), entry, after_s=seconds)

    def run(self, task_id: str, agent: str, seconds: float, **more: Any) -> None:
        self.succeed(task_id, agent, self.assign(task_id, agent, **more), seconds)

    def folded(self) -> Statistics:
        statistics = Statistics()
        for entry in self.entries:
            fold(statistics, *entry)
        return statistics


def mixed_ledger(count: int = 60) -> Ledger:
    ledger = Ledger()
    for number in range(count):
        agent = f"a{number % 3}"
        facts = TaskFacts(100 + number, 50 + number, 1, 64, 0.0)
        if number % 7 == 6:
            ledger.fail(f"t{number}", agent, ledger.assign(f"t{number}", agent), 0.1)
        else:
            ledger.run(f"t{number}", agent, 1.0 + number % 5, facts=facts, in_flight=number % 2)
    return ledger


def test_a_restart_folds_to_equal_statistics() -> None:
    ledger = mixed_ledger()
    assert ledger.folded() == ledger.folded()
    assert ledger.folded().pair("a1", "chat").count > 10


def test_an_agents_seconds_become_its_expectation() -> None:
    ledger = Ledger()
    for number in range(30):
        ledger.run(f"f{number}", "fast", 0.5, p50_s=None)
        ledger.run(f"s{number}", "slow", 8.0, p50_s=None)
    found = ledger.folded()
    kind = found.kind("chat")
    fast = seconds_of(prior(kind, found.agent("fast"), found.pair("fast", "chat")))
    slow = seconds_of(prior(kind, found.agent("slow"), found.pair("slow", "chat")))
    assert fast == pytest.approx(0.5, rel=0.3)
    assert slow == pytest.approx(8.0, rel=0.3)


def test_an_agents_pace_at_one_kind_is_expected_of_it_at_another() -> None:
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"c{number}", "fast", 0.5)
        ledger.run(f"d{number}", "slow", 8.0)
        ledger.run(f"e{number}", "other", 2.0, kind="extract")
    found = ledger.folded()
    kind = found.kind("extract")
    assert prior(kind, found.agent("slow"), PairStats()) > prior(kind, found.agent("fast"), PairStats()) + 1


def test_drift_follows_a_change_at_once_and_fades_unconfirmed() -> None:
    ledger = Ledger()
    for number in range(60):
        ledger.run(f"t{number}", "a", 2.0, p50_s=2.0)
    for number in range(6):
        ledger.run(f"u{number}", "a", 8.0, p50_s=2.0)
    agent = ledger.folded().agent("a")
    assert agent.drift_now(ledger.now) > 0.4
    assert agent.drift_now(ledger.now + 3600) < 0.01


def test_what_lasts_is_no_drift_but_the_agents_pace() -> None:
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"a{number}", "usual", 2.0, reason=UNPREDICTED)
        ledger.run(f"b{number}", "slow", 8.0, reason=UNPREDICTED)
    found = ledger.folded()
    slow, usual = found.agent("slow"), found.agent("usual")
    assert found.base("slow", "chat", ledger.now) == pytest.approx(log(8.0), abs=0.15)
    assert slow.speed > usual.speed + 0.7


def test_the_first_attempt_of_a_new_kind_is_blamed_on_the_kind() -> None:
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"t{number}", "a", 2.0, reason=UNPREDICTED)
    before = ledger.folded().agent("a")
    ledger.run("other", "a", 200.0, kind="never-seen", reason=UNPREDICTED)
    found = ledger.folded()
    assert found.kind("never-seen").mean == pytest.approx(log(200.0) - before.speed, abs=0.5)
    assert found.base("a", "chat", ledger.now) == pytest.approx(log(2.0), abs=0.2)


def test_what_the_forest_said_of_a_task_does_not_count_as_the_agents_pace() -> None:
    """Long prompts only: predicted to take four times as long as usual, and so they do."""
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"t{number}", "a", 2.0, p50_s=2.0)
    usual = ledger.folded().base("a", "chat", ledger.now)
    for number in range(20):
        ledger.run(f"u{number}", "a", 8.0, p50_s=8.0)
    assert ledger.folded().base("a", "chat", ledger.now) == pytest.approx(usual, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 20.0, 60.0])
def test_a_burst_of_a_new_kind_is_learned_once_and_not_unlearned(seconds: float) -> None:
    """All are assigned, and predicted by guess, before the first of them ends."""
    ledger = Ledger()
    told = {"kind": "never-seen", "p50_s": 2.0, "p90_s": 4.0}
    epochs = {f"t{n}": ledger.assign(f"t{n}", "ab"[n % 2], **told) for n in range(30)}
    for number, (task_id, epoch) in enumerate(epochs.items()):
        entry = Succeeded(task_id, 1, "ab"[number % 2], epoch, service_s=seconds)
        ledger.add(SUBJECTS.ledger_agent(task_id, "ab"[number % 2]), entry, seconds if number < 1 else 0.01)
    found = ledger.folded()
    for agent in "ab":
        base = found.base(agent, "never-seen", ledger.now)
        assert base is not None
        assert seconds_of(base) == pytest.approx(seconds, rel=0.15)
        assert found.agent(agent).error == AgentStats().error, "a guess says nothing of scatter"


def test_a_prediction_that_came_of_other_beliefs_moves_little() -> None:
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"t{number}", "a", 60.0, p50_s=60.0)
    for number in range(30):
        ledger.run(f"u{number}", "a", 60.0, p50_s=2.0)
    base = ledger.folded().base("a", "chat", ledger.now)
    assert base is not None
    assert 30.0 < seconds_of(base) < 160.0


def test_a_prediction_that_is_no_time_harms_nobody() -> None:
    ledger = Ledger()
    ledger.run("t1", "a", 2.0)
    for number, p50_s in enumerate((0.0, -1.0)):
        ledger.assign(f"u{number}", "a", p50_s=p50_s)
        ledger.now += 60.0
    ledger.run("t2", "a", 2.0)
    assert ledger.folded().agent("a").count == 2


def test_time_between_assignment_and_start_is_the_agents_waiting() -> None:
    ledger = Ledger()
    for number in range(10):
        epoch = ledger.assign(f"t{number}", "queues", in_flight=1)
        ledger.now += 3.0
        ledger.succeed(f"t{number}", "queues", epoch, 1.0)
    assert ledger.folded().agent("queues").wait_s == pytest.approx(3.0)


def test_what_an_agent_may_not_say_teaches_nothing() -> None:
    ledger = Ledger()
    epoch = ledger.assign("t1", "honest")
    ledger.succeed("t1", "honest", epoch, 1.0, writer="liar")
    ledger.succeed("t1", "honest", epoch + 7, 1.0)
    ledger.succeed("t9", "honest", epoch, 1.0)
    ledger.add(
        SUBJECTS.ledger_agent("t2", "liar"), Assigned("t2", 1, "liar", "i", 0, "chat", 5, RouteReason.MODEL)
    )
    found = ledger.folded()
    assert (found.agents, found.pairs, found.ignored) == ({}, {}, 4)
    ledger.succeed("t1", "honest", epoch, 1.0)
    assert ledger.folded().pair("honest", "chat").count == 1


@pytest.mark.parametrize("body", [b"", b"\xc1", b"[1]", b'{"type": "assigned"}', b'{"type": 7}', b"{" * 500])
def test_bodies_that_cannot_be_read_are_counted_and_skipped(body: bytes) -> None:
    statistics = Statistics()
    for subject in ("t.ledger.t1.orchestrator.o1", "t.ledger.t1.agent.a1", "t.nonsense"):
        fold(statistics, subject, body, 1, 0.0)
    assert not statistics.agents
    assert statistics.ignored >= 1


def test_memory_is_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_PAIRS", "MOST_AGENTS", "MOST_IN_FLIGHT"):
        monkeypatch.setattr(module, name, 10)
    ledger = Ledger()
    for number in range(30):
        ledger.run(f"t{number}", f"a{number}", 1.0)
        ledger.assign(f"open{number}", "a")
    found = ledger.folded()
    assert len(found.pairs) == len(found.agents) == len(found.running) == 10
    assert found.agent("a0") == AgentStats()
    assert found.agent("a29").count == 1


def test_no_training_row_knows_what_came_later() -> None:
    ledger = mixed_ledger()
    changed = Ledger()
    changed.entries = list(ledger.entries)
    for number in range(60, len(changed.entries)):
        subject, _, seq, at = changed.entries[number]
        if ".agent." in subject:
            task_id, agent = subject.split(".")[2], subject.split(".")[4]
            epoch = max(
                s for sub, _, s, _ in changed.entries[:number] if sub.startswith(f"t.ledger.{task_id}.")
            )
            body = encode(Succeeded(task_id, 1, agent, epoch, service_s=900.0))
            changed.entries[number] = (subject, body, seq, at)
    before, after = (_rows_until(each, 60) for each in (ledger, changed))
    assert before == after
    assert len(before) > 20


def _rows_until(ledger: Ledger, last_seq: int) -> list[tuple[bytes, float, float]]:
    builder = RowBuilder()
    rows = [builder.fold(*entry) for entry in ledger.entries]
    found = []
    for entry, row in zip(ledger.entries, rows, strict=True):
        if row is not None and entry[2] <= last_seq:
            found.append((row.features.tobytes(), row.base, row.log_service))
    return found


def test_p90_is_widened_until_one_in_ten_is_over_it() -> None:
    draw, ledger = random.Random(5), Ledger()
    over, told, widen = 0, 0, 0.0
    for number in range(600):
        if number % 20 == 0:
            widen = ledger.folded().widen + ledger.folded().agent("a").widen
        p90_s = 2.0 * exp(0.2 + widen)
        seconds = 2.0 * draw.lognormvariate(0.0, 0.6)
        ledger.run(f"t{number}", "a", seconds, p50_s=2.0, p90_s=p90_s)
        if number >= 300:
            over, told = over + (seconds > p90_s), told + 1
    assert 0.05 < over / told < 0.15


def test_what_was_predicted_before_the_last_news_is_not_counted_twice() -> None:
    """Ten attempts begun together that all take twice as long say the same as one after the other."""
    together = Ledger()
    epochs = [(f"t{n}", together.assign(f"t{n}", "a", p50_s=2.0)) for n in range(10)]
    for task_id, epoch in epochs:
        together.succeed(task_id, "a", epoch, 4.0)
    assert together.folded().agent("a").drift <= log(2.0) + 0.01


def test_an_attempt_that_is_overdue_speaks_before_it_ends() -> None:
    """Else a slow agent would get more and more work until its first end."""
    ledger = Ledger()
    for number in range(20):
        ledger.run(f"t{number}", "a", 2.0, p50_s=2.0)
    ledger.assign("open", "a", p50_s=2.0)
    found, now = ledger.folded(), ledger.now
    agent = found.agent("a")
    soon, late, very_late = (found.drift_now("a", agent, now + after) for after in (1.0, 10.0, 100.0))
    assert soon == agent.drift_now(now + 1.0)
    assert 0.1 < late < very_late <= agent.drift + 2.0
