"""The state of the ledger keeps what still matters, whole and bounded, and comes back from its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from outrider.broker.codec import dump, encode, load
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Stored
from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.routing import RouteReason
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import parse_ledger
from outrider.ledger import keeping
from outrider.ledger.control import Control, pause_control_id
from outrider.ledger.entries import Assigned, Closed, Ended, Entry, Member
from outrider.ledger.fold import Story
from outrider.ledger.reader import record_of
from outrider.ledger.snapshot import Snapshot, UnfitSnapshot, anchor_of, read, restored, take, written
from outrider.ledger.state import LedgerState, unpacked


class Book:
    """Writes a ledger by hand."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self._seqs = count(1)
        self._last: dict[str, int] = {}

    def put(self, subject: str, message: Any) -> int:
        seq = next(self._seqs)
        body = dump(message) if isinstance(message, dict) else encode(message)
        self.stored.append(Stored(f"f.{subject}", body, seq, 1000.0 + seq, 0))
        return seq

    def entry(self, entry: Entry) -> int:
        is_agents = isinstance(entry, (Succeeded, Failed))
        writer = f"agent.{entry.agent_id}" if isinstance(entry, (Succeeded, Failed)) else "orchestrator.o"
        assert is_agents == writer.startswith("agent")
        seq = self._last[entry.task_id] = self.put(f"ledger.{entry.task_id}.{writer}", entry)
        return seq

    def assigned(self, task_id: str, attempt: int = 1, agent_id: str = "a") -> int:
        envelope = TaskEnvelope("echo", "x" * 50_000, task_id) if attempt == 1 else None
        epoch = self._last.get(task_id, 0)
        return self.entry(
            Assigned(task_id, attempt, agent_id, "i", epoch, "echo", 5, RouteReason.MODEL, envelope=envelope)
        )

    def succeeded(self, task_id: str, attempt: int = 1, agent_id: str = "a") -> int:
        return self.entry(Succeeded(task_id, attempt, agent_id, self._last[task_id], "y" * 9_000, 0.5))

    def failed(self, task_id: str, attempt: int = 1, agent_id: str = "a") -> int:
        error = AttemptError(ErrorClass.TIMEOUT, "slow", True)
        return self.entry(Failed(task_id, attempt, agent_id, self._last[task_id], error))

    def lost(self, task_id: str, attempt: int = 1, agent_id: str = "a") -> int:
        return self.entry(Ended(task_id, attempt, agent_id, self._last[task_id], "lost", "gone", True))

    def closed(self, task_id: str, type_: str = "cancelled") -> int:
        return self.entry(Closed(task_id, self._last.get(task_id, 0), type_))

    def state(self, stored: Iterable[Stored] | None = None) -> LedgerState:
        state = LedgerState()
        for message in self.stored if stored is None else stored:
            state.fold(message)
        return state


def stories(stored: Iterable[Stored]) -> dict[str, tuple[object, ...]]:
    """What a fold by the rules makes of the open tasks."""
    found: dict[str, Story] = {}
    for message in stored:
        if ".ledger." not in message.subject:
            continue
        where = parse_ledger(message.subject)
        story = found.setdefault(where.task_id, Story(where.task_id))
        try:
            story.apply(message.seq, where, record_of(message).entry, message.stored_at)
        except OutriderError as error:
            story.skip(message.seq, error.message)
    return {
        s.task_id: (
            s.phase,
            s.epoch,
            s.expect,
            s.attempt,
            s.charged,
            s.uncharged_in_a_row,
            s.agent_id,
            s.owner,
        )
        for s in found.values()
        if s.epoch and not s.is_terminal
    }


def random_book(seed: int) -> Book:
    random, book = Random(seed), Book()
    attempts: dict[str, int] = {}
    live: set[str] = set()
    for _ in range(300):
        task_id = f"t{random.randint(0, 40)}"
        attempt = attempts.get(task_id, 0)
        if attempt < 0:
            continue
        what = random.random()
        if what < 0.1:
            book.put(
                f"member.a{random.randint(0, 3)}", Member("a0", random.choice(("joined", "offline")), "i")
            )
        elif what < 0.15:
            book.put(f"ledger.{task_id}.agent.liar", Succeeded(task_id, 1, "liar", random.randint(0, 300)))
        elif what < 0.18:
            book.put(f"ledger.{task_id}.agent.liar", {"no": "entry"})
        elif task_id not in live:
            book.assigned(task_id, attempt + 1)
            attempts[task_id] = attempt + 1
            live.add(task_id)
        elif what < 0.5:
            (book.failed if what < 0.4 else book.lost)(task_id, attempt)
            live.discard(task_id)
        elif what < 0.8:
            (
                book.succeeded(task_id, attempt)
                if what < 0.65
                else book.closed(task_id, random.choice(("dead", "cancelled")))
            )
            attempts[task_id] = -1
    return book


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_folds_to_the_same_open_tasks(seed: int) -> None:
    book = random_book(seed)
    assert stories(book.state().kept()) == stories(book.stored)


@pytest.mark.parametrize("seed", range(20))
def test_going_on_from_its_bytes_is_the_same_as_folding_all(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("MOST_DEAD", "MOST_LETTERS", "MOST_STOPPED", "MOST_AGENTS"):
        monkeypatch.setattr(keeping, bound, 2)
    book = random_book(seed)
    whole = book.state()
    middle = len(book.stored) // 2
    state = book.state(book.stored[:middle])
    again = LedgerState(unpacked(state.seq, state.packed()))
    assert again.digest == state.digest
    for message in book.stored[middle:]:
        again.fold(message)
    assert again.digest == whole.digest
    assert again.counts() == whole.counts()


def test_no_payload_and_no_result_is_kept() -> None:
    book = Book()
    book.assigned("t1")
    book.assigned("t2")
    book.succeeded("t2")
    assert sum(len(s.data) for s in book.state().kept()) < 3_000


def test_finished_tasks_leave_one_success_of_each_agent_and_kind() -> None:
    book = Book()
    for n in range(50):
        book.assigned(f"t{n}")
        newest = book.succeeded(f"t{n}")
    state = book.state()
    assert [s.seq for s in state.kept()] == [newest - 1, newest]
    assert state.counts()["open_tasks"] == 0


def test_a_task_that_was_stopped_stays_known_for_the_agent_that_may_not_have_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "MOST_STOPPED", 2)
    book = Book()
    for n in range(3):
        book.assigned(f"t{n}")
        book.closed(f"t{n}")
    book.closed("never-ran", "expired")
    kept = {parse_ledger(s.subject).task_id for s in book.state().kept()}
    assert kept == {"t1", "t2"}


def test_a_hostile_flood_on_an_open_task_leaves_one_short_entry() -> None:
    book = Book()
    book.assigned("t1")
    for _ in range(100):
        lie = book.put("ledger.t1.agent.liar", {"type": "succeeded", "junk": "z" * 100_000})
    kept = book.state().kept()
    assert [s.seq for s in kept] == [1, lie]
    assert sum(len(s.data) for s in kept) < 2_000
    assert stories(kept)["t1"][2] == lie


def test_of_an_agent_the_newest_join_and_the_newest_entry_are_kept() -> None:
    book = Book()
    for type_ in ("joined", "suspect", "offline", "joined", "suspect", "back"):
        book.put("member.a", Member("a", type_, "i"))
    assert [s.seq for s in book.state().kept()] == [4, 6]


def test_dead_letters_are_kept_until_somebody_deals_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_DEAD", 2)
    monkeypatch.setattr(keeping, "MOST_LETTERS", 1)
    book = Book()
    died = []
    for n in range(5):
        book.assigned(f"t{n}")
        book.failed(f"t{n}")
        died.append(book.closed(f"t{n}", "dead"))
    kept = [s.seq for s in book.state().kept()]
    assert kept == [died[2], died[3] - 2, died[3] - 1, died[3], died[4] - 2, died[4] - 1, died[4]]
    book.put(f"control.discarded-{died[4]}", Control("discarded", dead_seq=died[4]))
    book.put(f"control.requeued-{died[2]}", Control("requeued", dead_seq=died[2]))
    assert [s.seq for s in book.state().kept()] == [died[3] - 2, died[3] - 1, died[3]]
    assert book.state().counts()["dead_letters"] == 1


def test_of_pauses_the_newest_word_on_each_kind_is_kept() -> None:
    book = Book()
    for type_ in ("paused", "resumed", "paused"):
        for kind in ("", "chat"):
            book.put(f"control.{pause_control_id(kind)}", Control(type_, kind))
    assert [s.seq for s in book.state().kept()] == [5, 6]


def snapshot_of(book: Book) -> Snapshot:
    return take("f", book.state(), anchor_of(book.stored[-1]))


def test_a_snapshot_comes_back_from_its_bytes() -> None:
    book = random_book(7)
    snapshot = read(written(snapshot_of(book)), "f")
    kept = restored(snapshot, 1, snapshot.seq + 5, anchor_of(book.stored[-1]))
    assert LedgerState(kept).digest == snapshot.digest == book.state().digest


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"format": "another"},
        {"fleet": "g"},
        {"seq": 1},
        {"digest": "0"},
        {"rules": ("others",)},
        {"state": b"\x90"},
    ],
)
def test_a_snapshot_that_is_odd_in_itself_is_not_used(change: dict[str, Any]) -> None:
    with pytest.raises(UnfitSnapshot):
        read(written(replace(snapshot_of(random_book(1)), **change)), "f")


def test_a_snapshot_from_before_hedging_is_not_used() -> None:
    """Whoever made it passed over second attempts."""
    snapshot = snapshot_of(random_book(1))
    assert "ledger:2" in snapshot.rules
    rules = tuple(rule.replace("ledger:2", "ledger:1") for rule in snapshot.rules)
    with pytest.raises(UnfitSnapshot, match="other rules"):
        read(written(replace(snapshot, rules=rules)), "f")


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_torn_snapshot_is_not_used(cut: int) -> None:
    with pytest.raises(OutriderError):
        read(written(snapshot_of(random_book(1)))[:cut], "f")


def test_a_snapshot_of_another_past_is_not_used() -> None:
    snapshot = snapshot_of(random_book(1))
    for first, last, anchor in (
        (1, snapshot.seq - 1, snapshot.anchor),
        (snapshot.seq + 1, snapshot.seq + 9, snapshot.anchor),
        (1, snapshot.seq + 9, "another entry"),
        (1, snapshot.seq + 9, None),
    ):
        with pytest.raises(UnfitSnapshot):
            restored(snapshot, first, last, anchor)


def test_what_the_ledger_has_forgotten_the_state_forgets() -> None:
    book = Book()
    book.put("member.a", Member("a", "joined", "i"))
    book.assigned("old")
    book.failed("old")
    second = book.assigned("old", 2)
    new = book.assigned("new")
    snapshot = snapshot_of(book)
    kept = restored(snapshot, second, snapshot.seq, snapshot.anchor)
    assert [s.seq for s in LedgerState(kept).kept()] == [1, new]


def test_entries_are_kept_as_maps_that_the_door_reads() -> None:
    book = Book()
    book.assigned("t1")
    (kept,) = book.state().kept()
    assert "payload" not in load(kept.data)["envelope"]
    assert isinstance(record_of(kept).entry, Assigned)
