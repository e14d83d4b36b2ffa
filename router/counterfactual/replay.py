"""Replays the decisions of a fleet's ledger against another policy or model; reads in pages, bounded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.follower import StreamReader
from outrider.broker.subjects import Subjects, check_name
from outrider.ledger.replay import bounds
from outrider.router.artifact import Model, ModelStore
from outrider.router.counterfactual.decisions import Ask, Book
from outrider.router.counterfactual.estimate import estimate
from outrider.router.counterfactual.policies import choice_of, policy_named
from outrider.router.predictor import Predictor

PAGE = 2560
SERVING, SHIPPED = "serving", "shipped"
MOST_MESSAGES = 150_000
"""So many of the newest messages of the ledger are read at most, those that only teach included."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which decisions, and against what: the name of a policy, else a model by its version.

    `serving` and `shipped` name models too.
    """

    since_s: float
    policy: str | None = None
    model: str | None = None


def answerer(question: Question, state_folder: Path) -> Ask:
    """The policy to ask. Raises UnknownPolicy, InvalidName or ModelRefused."""
    if question.policy is not None:
        return policy_named(question.policy)
    model = _model_named(question.model or SERVING, ModelStore(state_folder))
    return choice_of(Predictor(model.forest, model.version))


def _model_named(name: str, store: ModelStore) -> Model:
    if name == SERVING:
        return store.load_serving()
    shipped = store.load(None)
    return shipped if name in (SHIPPED, shipped.version) else store.load(check_name(name, "model version"))


async def replay(
    settings: NatsSettings, fleet: str, state_folder: Path, question: Question
) -> dict[str, Any]:
    """Ask the policy at each recorded decision and estimate what it would have changed.

    Raises UnknownPolicy, ModelRefused, NatsUnavailable, WrongCredentials or NobodyAnswers (no ledger).
    """
    book = Book(answerer(question, state_folder), time.time() - question.since_s)
    read = await _read(settings, fleet, book)
    about = {
        "policy": question.policy,
        "model": None if question.policy else question.model,
        "since_s": question.since_s,
        "entries": read.entries,
        "unreadable": book.unreadable,
        "is_whole": read.is_whole and not book.dropped,
    }
    return about | estimate(list(book.decisions))


@dataclass(frozen=True, slots=True)
class _Read:
    entries: int
    is_whole: bool
    """Whether the reading began before `since`, or at the ledger's first entry."""


async def _read(settings: NatsSettings, fleet: str, book: Book) -> _Read:
    subjects, entries, begins_at = Subjects(fleet), 0, None
    async with await Connection.open(settings, "router replay") as connection:
        first, last = await bounds(connection, subjects)
        start = next_seq = max(first, last - MOST_MESSAGES + 1)
        reader = StreamReader(connection, subjects.ledger_stream)
        while next_seq <= last and (page := await reader.all_of(subjects.all_ledger, next_seq, PAGE)):
            begins_at = page[0].stored_at if begins_at is None else begins_at
            for stored in page:
                book.fold(stored.subject, stored.data, stored.seq, stored.stored_at)
            entries += len(page)
            next_seq = page[-1].seq + 1
    is_whole = start == first or (begins_at is not None and begins_at <= book.since)
    return _Read(entries, is_whole)
