"""An Outrider client written from docs/wire.md alone: plain nats-py and msgpack, nothing of Outrider.

    python foreign_client.py NATS_URL FLEET KIND PAYLOAD_AS_JSON

Submits one task straight to the queue, waits for its end and prints one JSON object: task_id, state, result,
the pieces of output, the number of attempts and of entries that the rules passed over.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import msgpack
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

Body = dict[str, Any]
ALLOWED = {
    "unwritten": {"assigned", "dead", "cancelled", "expired"},
    "live": {"succeeded", "failed", "rejected", "lost", "timed_out", "dead", "cancelled", "expired"},
    "between": {"assigned", "dead", "cancelled", "expired"},
    "closed": set[str](),
}
FROM_AGENTS = {"succeeded", "failed"}
CLOSING = {"succeeded", "dead", "cancelled", "expired"}


def read(data: bytes) -> Body | None:
    """A body in MessagePack or JSON; None when it is neither or no map."""
    try:
        body = msgpack.unpackb(data) if data and data[0] >= 0x80 else json.loads(data)
    except (ValueError, msgpack.UnpackException):
        return None
    return body if isinstance(body, dict) else None


@dataclass
class Story:
    """The fold of section 7."""

    task_id: str
    phase: str = "unwritten"
    epoch: int = 0
    expect: int = 0
    attempt: int = 0
    agent: str = ""
    ignored: int = 0
    last: Body = field(default_factory=dict)

    def apply(self, seq: int, subject: str, data: bytes) -> None:
        if seq <= self.expect:
            return
        self.expect = seq
        entry = read(data)
        _, _, task_id, role, writer = subject.split(".")
        if entry is None or task_id != self.task_id or not self.is_allowed(entry, role, writer):
            self.ignored += 1
            return
        self.epoch, self.last = seq, entry
        if entry["type"] == "assigned":
            self.phase, self.attempt, self.agent = "live", entry["attempt"], entry["agent_id"]
        else:
            self.phase = "closed" if entry["type"] in CLOSING else "between"

    def is_allowed(self, entry: Body, role: str, writer: str) -> bool:
        type_ = entry.get("type")
        if type_ not in ALLOWED[self.phase] or entry.get("v", 1) != 1 or entry.get("task_id") != self.task_id:
            return False
        if (role == "agent") != (type_ in FROM_AGENTS) or entry.get("epoch") != self.epoch:
            return False
        if type_ == "assigned":
            return bool(entry.get("attempt") == self.attempt + 1)
        if type_ in ("dead", "cancelled", "expired"):
            return True
        is_this_attempt = entry.get("attempt") == self.attempt and entry.get("agent_id") == self.agent
        return is_this_attempt and (role != "agent" or writer == self.agent)


async def direct_get(client: Client, stream: str, query: Body) -> list[tuple[int, str, bytes]]:
    """Sequence, subject and body of stored messages, without a consumer (section 6)."""
    inbox = client.new_inbox()
    arriving = await client.subscribe(inbox)
    await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox)
    found: list[tuple[int, str, bytes]] = []
    while True:
        message = await arriving.next_msg(timeout=5)
        headers = message.headers or {}
        if "Status" in headers:
            await arriving.unsubscribe()
            return found
        found.append((int(headers["Nats-Sequence"]), headers["Nats-Subject"], message.data))


async def submit(client: Client, fleet: str, kind: str, payload: Any, task_id: str) -> int:
    """Publish the task; returns its sequence in TASKS."""
    envelope = {"kind": kind, "payload": payload, "task_id": task_id, "submitted_at": time.time()}
    headers = {
        "Nats-Expected-Last-Subject-Sequence": "0",
        "Nats-Expected-Last-Subject-Sequence-Subject": f"{fleet}.task.*.*.{task_id}",
    }
    subject = f"{fleet}.task.{kind}.5.{task_id}"
    ack = json.loads(
        (await client.request(subject, msgpack.packb(envelope), timeout=5, headers=headers)).data
    )
    if "error" in ack:
        raise SystemExit(f"refused: {ack['error']}")
    return int(ack["seq"])


async def result_of(client: Client, fleet: str, kind: str, payload: Any) -> Body:
    task_id = uuid.uuid4().hex
    upper = fleet.upper().replace("-", "_")
    story, changed = Story(task_id), asyncio.Event()

    async def heard(message: Msg) -> None:
        headers = message.headers or {}
        if "Nats-Sequence" in headers:
            story.apply(int(headers["Nats-Sequence"]), message.subject, message.data)
            changed.set()

    await client.subscribe(f"{fleet}.live.{task_id}.>", cb=heard)
    await client.flush()
    await submit(client, fleet, kind, payload, task_id)
    while story.phase != "closed":
        fresh = Story(task_id)
        query = {"batch": 256, "seq": 1, "next_by_subj": f"{fleet}.ledger.{task_id}.>"}
        for seq, subject, data in await direct_get(client, f"{upper}_LEDGER", query):
            fresh.apply(seq, subject, data)
        if fresh.expect >= story.expect:
            story = fresh
        try:
            async with asyncio.timeout(5):
                while story.phase != "closed" and story.expect <= fresh.expect:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            continue
    pieces = await direct_get(
        client, f"{upper}_CHUNKS", {"batch": 256, "seq": 1, "next_by_subj": f"{fleet}.chunk.*.{task_id}.*"}
    )
    mine = f"{fleet}.chunk.{story.agent}.{task_id}.{story.attempt}"
    chunks = [(read(data) or {}).get("data") for _, subject, data in pieces if subject == mine]
    return {
        "task_id": task_id,
        "state": story.last["type"],
        "result": story.last.get("result"),
        "chunks": chunks,
        "attempts": story.attempt,
        "ignored": story.ignored,
    }


async def main(url: str, fleet: str, kind: str, payload: str) -> None:
    client = await nats.connect(url, max_reconnect_attempts=-1)
    print(json.dumps(await result_of(client, fleet, kind, json.loads(payload))), flush=True)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
