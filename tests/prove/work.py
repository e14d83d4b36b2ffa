"""What every proof does with tasks: has them accepted whatever happens, reads in LEDGER how they ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from outrider.broker.errors import DecodeError, OutriderError
from outrider.broker.follower import StreamReader
from outrider.broker.subjects import parse_task
from outrider.client import Client
from outrider.client.new_task import NewTask
from outrider.client.submitting import PartlySubmitted
from outrider.ledger.reader import record_of
from outrider.ledger.rules import TERMINAL_TYPES
from tests.prove.book import Book
from tests.prove.passing import pass_time
from tests.prove.plan import KIND, MOST_ATTEMPTS

TERMINAL_WITHIN_S = 120.0
TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.25


async def submit_all(client: Client, book: Book, label: str, batch: Sequence[dict[str, Any]]) -> None:
    """Pursue a batch until all of it is accepted; `label` and the number of a task make its key."""
    new = [
        NewTask(
            KIND,
            payload,
            timeout_s=TIMEOUT_S,
            max_attempts=MOST_ATTEMPTS,
            key=f"{label}-{payload['number']}",
        )
        for payload in batch
    ]
    while True:
        try:
            accepted = list(await client.submit_many(new))
        except PartlySubmitted as partly:
            accepted = [task for task in partly.tasks if task is not None]
        except OutriderError:
            accepted = []
        for task in accepted:
            book.accepted.setdefault(task.task_id, time.time())
        if len(accepted) == len(new):
            return
        await pass_time(0.2)


async def until_settled(client: Client, book: Book, deadline: float) -> set[str]:
    """Read LEDGER until every accepted task is terminal and TASKS is empty; returns what TASKS holds."""
    subjects = client.subjects
    ledger = StreamReader(client.connection, subjects.ledger_stream)
    tasks = StreamReader(client.connection, subjects.tasks_stream)
    waiting: set[str] = set()
    first = 1
    while True:
        with contextlib.suppress(OutriderError):
            for stored in await ledger.all_of(subjects.all_ledger, first):
                try:
                    book.add(record_of(stored))
                except DecodeError as error:
                    book.unreadable.append(error.message)
                first = stored.seq + 1
            waiting = {parse_task(s.subject)[2] for s in await tasks.all_of(subjects.all_tasks)}
            if not waiting and _all_over(book):
                return waiting
        if time.time() > deadline:
            return waiting
        await pass_time(LOOK_EVERY_S)


def _all_over(book: Book) -> bool:
    known = book.accepted.keys() | book.records.keys()
    return all(any(r.entry.type in TERMINAL_TYPES for r in book.records.get(t, ())) for t in known)
