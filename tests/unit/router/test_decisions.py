"""What a replay takes from ledger entries: the load before a decision, and when its task succeeded."""

from __future__ import annotations

from outrider.broker.codec import encode
from outrider.broker.facts import TaskFacts
from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import Candidate, RouteReason
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned, Closed, Ended
from outrider.router.counterfactual.decisions import MOST_DECISIONS, Book, dice_of
from outrider.router.counterfactual.policies import policy_named

S = Subjects("f")
FAST, SLOW = Candidate("fast", 0.0, 1.0, 2.0, 1.0), Candidate("slow", 0.0, 3.0, 4.0, 3.0)


class Writer:
    """Appends to a book what orchestrator and agents would to a ledger; one second between entries."""

    def __init__(self, policy: str = "recorded", since: float = 0.0) -> None:
        self.book = Book(policy_named(policy), since)
        self.seq = 0

    def append(self, subject: str, body: bytes) -> int:
        self.seq += 1
        self.book.fold(subject, body, self.seq, float(self.seq))
        return self.seq

    def assign(
        self, task_id: str, agent: str, candidates: tuple[Candidate, ...] = (FAST, SLOW), attempt: int = 1
    ) -> int:
        running = len(self.book.statistics.by_agent.get(agent, ()))
        entry = Assigned(
            task_id, attempt, agent, "i", 0, "chat", 5, RouteReason.MODEL, "m", candidates=candidates,
            facts=TaskFacts(300, 260), slots=2, in_flight=running, waiting_s=0.5,
        )  # fmt: skip
        return self.append(S.ledger_orchestrator(task_id, "o1"), encode(entry))

    def succeed(self, task_id: str, agent: str, epoch: int) -> None:
        entry = Succeeded(task_id, 1, agent, epoch, service_s=0.1)
        self.append(S.ledger_agent(task_id, agent), encode(entry))


def test_a_decision_knows_the_load_before_it_and_the_seconds_to_the_success() -> None:
    writer = Writer()
    first = writer.assign("t1", "fast")
    second = writer.assign("t2", "slow")
    writer.succeed("t1", "fast", first)
    writer.succeed("t2", "slow", second)
    one, two = writer.book.decisions
    assert (one.load, two.load) == ({"fast": 0, "slow": 0}, {"fast": 1, "slow": 0})
    assert (one.finish_s, two.finish_s) == (2.0, 2.0)
    assert (two.slots["slow"], two.waited_s, two.wants) == (2, 0.5, {"slow": 1.0})


def test_a_second_attempt_counts_for_the_first_decision_too() -> None:
    writer = Writer()
    epoch = writer.assign("t1", "slow")
    lost = Ended("t1", 1, "slow", epoch, "lost")
    writer.append(S.ledger_orchestrator("t1", "o1"), encode(lost))
    again = writer.assign("t1", "fast", attempt=2)
    writer.succeed("t1", "slow", epoch)  # too late: another agent has the task
    assert [decision.finish_s for decision in writer.book.decisions] == [None, None]
    writer.succeed("t1", "fast", again)
    assert [decision.finish_s for decision in writer.book.decisions] == [4.0, 2.0]


def test_a_task_that_died_has_no_time() -> None:
    writer = Writer()
    epoch = writer.assign("t1", "slow")
    writer.append(S.ledger_orchestrator("t1", "o1"), encode(Closed("t1", epoch, "cancelled")))
    writer.succeed("t1", "slow", epoch)
    assert [decision.finish_s for decision in writer.book.decisions] == [None]


def test_full_candidates_and_decisions_without_any_are_not_asked_about() -> None:
    writer = Writer("random")
    writer.assign("t1", "slow", ())
    writer.assign("t2", "fast")
    writer.assign("t3", "fast")
    writer.assign("t4", "slow")
    assert [d.wants for d in writer.book.decisions] == [
        None, {"fast": 0.5, "slow": 0.5}, {"fast": 0.5, "slow": 0.5}, {"slow": 1.0},
    ]  # fmt: skip


def test_what_is_older_than_asked_for_only_teaches() -> None:
    writer = Writer(since=2.5)
    writer.succeed("t1", "fast", writer.assign("t1", "fast"))
    writer.assign("t2", "fast")
    assert [decision.task_id for decision in writer.book.decisions] == ["t2"]
    assert writer.book.statistics.pair("fast", "chat").count == 1


def test_nonsense_in_the_ledger_is_counted_and_passed_over() -> None:
    writer = Writer()
    for body in (b"", b"\xc1", b"[1]", b'{"type": "assigned"}', b'{"type": "assigned", "candidates": 5}'):
        writer.append(S.ledger_orchestrator("t1", "o1"), body)
    writer.append("elsewhere", b"{}")
    assert writer.book.unreadable == 6
    assert not writer.book.decisions


def test_memory_is_bounded_by_dropping_the_oldest() -> None:
    writer = Writer()
    for number in range(MOST_DECISIONS + 2):
        writer.assign(f"t{number}", "fast", ())
    assert (len(writer.book.decisions), writer.book.dropped) == (MOST_DECISIONS, 2)


def test_dice_have_known_odds_only_if_all_candidates_are_known() -> None:
    writer = Writer()
    writer.assign("t1", "fast")
    decision = writer.book.decisions[0]
    assert dice_of(decision) is None
    decision.model = "random"
    assert dice_of(decision) == {"fast": 0.5, "slow": 0.5}
    decision.has_all = False
    assert dice_of(decision) is None
