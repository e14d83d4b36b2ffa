"""Hands a checked submission to the client, whatever it asks for, and says what was accepted.

Knows the client and its words; not requests.
"""

from __future__ import annotations

from typing import Any

from outrider.client import Client, ScheduleView, Task
from outrider.ui.submission import Submission


async def accept(client: Client, wanted: Submission, key: str | None) -> Task | ScheduleView:
    """The task, or the schedule where there is a `cron`. Raises what `Client.submit` raises."""
    task: dict[str, Any] = {
        "priority": wanted.priority,
        "deadline_s": wanted.deadline_s,
        "timeout_s": wanted.timeout_s,
        "max_attempts": wanted.max_attempts,
        "requires": wanted.requires,
        "key": key,
        "limit_key": wanted.limit_key,
        "after": wanted.after,
        "on_failure": wanted.on_failure,
        "hedge": wanted.hedge,
    }
    if wanted.after_group is not None:
        task["after_group"] = (await client.group(wanted.after_group)).ref
    if wanted.cron is not None:
        return await client.schedule(
            wanted.kind, wanted.payload, cron=wanted.cron, time_zone=wanted.time_zone, **task
        )
    return await client.submit(wanted.kind, wanted.payload, **task, **_arrangement(wanted))


def _arrangement(wanted: Submission) -> dict[str, Any]:
    """What was asked beside the task itself; nothing, mostly: then the submission asks nobody."""
    given = {
        "delay_s": wanted.delay_s,
        "run_at": wanted.run_at,
        "unique": wanted.unique or None,
        "unique_key": wanted.unique_key,
        "debounce_s": wanted.debounce_s,
        "debounce_key": wanted.debounce_key,
        "eta": wanted.eta or None,
        "refuse_late": wanted.refuse_late or None,
    }
    return {name: value for name, value in given.items() if value is not None}
