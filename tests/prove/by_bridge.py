"""Submits over REST, as a program without NATS does: what the bridge answers 201 to counts as accepted."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.prove.book import Book
from tests.prove.parts import Part
from tests.prove.passing import pass_time
from tests.prove.plan import KIND, MOST_ATTEMPTS

ANSWER_WITHIN_S = 5.0
TIMEOUT_S = 30.0


async def submit_by_bridge(bridge: Part, book: Book, label: str, batch: Sequence[dict[str, Any]]) -> None:
    """Pursue each task under one idempotency key until the bridge says that it is accepted."""
    for payload in batch:
        body = {"kind": KIND, "payload": payload, "timeout_s": TIMEOUT_S, "max_attempts": MOST_ATTEMPTS}
        key = f"{label}-{payload['number']}"
        while (
            task_id := await asyncio.to_thread(_post, bridge.lives[-1], json.dumps(body).encode(), key)
        ) == "":
            await pass_time(0.2)
        book.accepted.setdefault(task_id, time.time())


def _post(life: str, body: bytes, key: str) -> str:
    """The id of the accepted task, or "" for any other answer and for none. `life` is `ui <address>`."""
    address = life.rpartition(" ")[2]
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(f"{address}/api/v1/tasks", body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as answer:
            return str(json.load(answer)["task_id"]) if answer.status == 201 else ""
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return ""
