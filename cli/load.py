"""Loads one fleet with tasks and judges it by its ledger: what was accepted must have ended exactly once."""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.follower import Stored
from outrider.broker.states import TaskState
from outrider.broker.views import TaskView
from outrider.cli.waiting import patiently
from outrider.client import Client, NewTask, Task
from outrider.client.reading import records_of
from outrider.ledger.fold import fold_story
from outrider.ledger.rules import TERMINAL_TYPES

PAGE = 5000


async def load_fleet(settings: NatsSettings, fleet: str, options: argparse.Namespace) -> dict[str, Any]:
    """Submit, wait for all, count; returns the report of `outrider stress`."""
    loop = asyncio.get_running_loop()
    async with Client(settings=settings, fleet=fleet, name="outrider stress") as client:
        first_seq = await _last_seq(client) + 1
        began_at = loop.time()
        tasks = await patiently("submitting", client.submit_many([_new(options)] * options.tasks))
        accepted_s = loop.time() - began_at
        views = await patiently("the agents work", _all_ended(tasks))
        took_s = loop.time() - began_at
        counted = await patiently("counting in the ledger", _count(client, first_seq, tasks))
    return {
        "tasks": len(tasks),
        "agents": len({view.agent for view in views if view.agent}),
        "kind": options.kind,
        "seconds": round(took_s, 3),
        "submitted_per_s": round(len(tasks) / accepted_s, 1),
        "tasks_per_s": round(len(tasks) / took_s, 1),
        **_latency(views),
        **counted,
    }


def _new(options: argparse.Namespace) -> NewTask:
    payload = {"text": "x" * max(0, options.payload)}
    return NewTask(options.kind, payload | ({"seconds": options.seconds} if options.kind == "sleep" else {}))


async def _all_ended(tasks: list[Task]) -> list[TaskView]:
    return [await task.ended() for task in tasks]


def _latency(views: list[TaskView]) -> dict[str, float]:
    sojourns = sorted(view.sojourn_s for view in views if view.sojourn_s is not None) or [0.0]
    return {
        "p50_ms": round(1000 * sojourns[len(sojourns) // 2], 2),
        "p99_ms": round(1000 * sojourns[min(len(sojourns) - 1, len(sojourns) * 99 // 100)], 2),
    }


async def _last_seq(client: Client) -> int:
    info = await client.connection.api(f"STREAM.INFO.{client.subjects.ledger_stream}")
    return int(info["state"]["last_seq"])


async def _count(client: Client, first_seq: int, tasks: list[Task]) -> dict[str, int]:
    """What the ledger says of these tasks: ended once, more than once, or not at all."""
    stories: dict[str, list[Stored]] = defaultdict(list)
    ours = {task.task_id for task in tasks}
    while page := await client.reader.ledger.all_of(client.subjects.all_ledger, first=first_seq, most=PAGE):
        first_seq = page[-1].seq + 1
        for stored in page:
            task_id = stored.subject.split(".", 3)[2]
            if task_id in ours:
                stories[task_id].append(stored)
    ends = {task_id: _ends(task_id, stored) for task_id, stored in stories.items()}
    return {
        "succeeded": sum(state is TaskState.SUCCEEDED for state, _ in ends.values()),
        "failed": sum(times > 0 and state is not TaskState.SUCCEEDED for state, times in ends.values()),
        "lost": len(ours) - sum(times > 0 for _, times in ends.values()),
        "duplicates": sum(times > 1 for _, times in ends.values()),
    }


def _ends(task_id: str, stored: list[Stored]) -> tuple[TaskState, int]:
    """The folded state, and how many terminal entries the ledger holds."""
    records = records_of(stored)
    times = sum(record.entry.type in TERMINAL_TYPES for record in records)
    return fold_story(task_id, records).state, times
