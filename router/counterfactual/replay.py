"""Replays the decisions of a fleet's ledger against another policy or model; reads in pages, bounded."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.follower import StreamReader
from outrider.broker.subjects import Subjects
from outrider.ledger.replay import bounds
from outrider.router.artifact import ModelStore
from outrider.router.config import router_settings
from outrider.router.counterfactual.asked import Question, find
from outrider.router.counterfactual.decisions import Book
from outrider.router.counterfactual.estimate import estimate
from outrider.router.fleet_models import FleetModels

PAGE = 2560
MOST_MESSAGES = 150_000
"""So many of the newest messages of the ledger are read at most, those that only teach included."""


async def replay(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    question: Question,
    *,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask the policy at each recorded decision and estimate what it would have changed.

    Raises UnknownPolicy, InvalidName, ModelRefused, BadSettings, NatsUnavailable, WrongCredentials or
    NobodyAnswers (no ledger).
    """
    question, subjects = question.check(), Subjects(fleet)
    store = ModelStore(state_folder, router_settings(env).model_key)
    async with await Connection.open(settings, "router replay") as connection:
        asked = await find(question, FleetModels(connection, subjects), store)
        book = Book(asked.ask, time.time() - question.since_s)
        read = await _read(connection, subjects, book)
    about = {
        "policy": question.policy,
        "model": None if question.policy else question.model,
        "model_version": asked.version,
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


async def _read(connection: Connection, subjects: Subjects, book: Book) -> _Read:
    entries, begins_at = 0, None
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
