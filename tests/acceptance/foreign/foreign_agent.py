"""An Outrider agent written from docs/wire.md alone: plain nats-py and msgpack, nothing of Outrider.

    python foreign_agent.py NATS_URL FLEET AGENT_ID SPOOL_FOLDER

Kind `shout` streams the words of its payload in capitals and returns them. Kind `stubborn` fails once, then
tries to record its first attempt after all, as an agent that was away for a while might. What happens is
printed, one JSON object a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

SLOTS = 4
KINDS = ["shout", "stubborn"]
Body = dict[str, Any]


def read(data: bytes) -> Body:
    """A body in MessagePack or JSON, told apart by its first byte (section 2)."""
    body: Body = msgpack.unpackb(data) if data and data[0] >= 0x80 else json.loads(data or b"{}")
    return body


def write(body: Body, like: bytes = b"\x80") -> bytes:
    """A body in the format of the request that it answers."""
    if like and like[0] >= 0x80:
        packed: bytes = msgpack.packb(body)
        return packed
    return json.dumps(body).encode()


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


class Spool:
    """Outcomes on disk until the ledger has them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, outcome: Body, expect: int) -> None:
        path = self._path(outcome)
        path.with_suffix(".new").write_bytes(msgpack.packb({"outcome": outcome, "expect": expect}))
        path.with_suffix(".new").replace(path)

    def forget(self, outcome: Body) -> None:
        self._path(outcome).unlink(missing_ok=True)

    def all(self) -> list[tuple[Body, int]]:
        found = [msgpack.unpackb(path.read_bytes()) for path in sorted(self._folder.glob("*.outcome"))]
        return [(item["outcome"], item["expect"]) for item in found]

    def _path(self, outcome: Body) -> Path:
        return self._folder / f"{outcome['task_id']}.{outcome['attempt']}.outcome"


class Agent:
    def __init__(self, client: Client, fleet: str, agent_id: str, spool: Spool) -> None:
        self.client, self.fleet, self.agent_id, self.spool = client, fleet, agent_id, spool
        self.instance = uuid.uuid4().hex
        self.answers: dict[int, Body] = {}
        self.running: dict[int, asyncio.Task[None]] = {}
        self.first_tries: dict[str, tuple[Body, int]] = {}
        self.is_draining = False
        self.idle = asyncio.Event()

    def subject(self, verb: str) -> str:
        return f"{self.fleet}.agent.{self.agent_id}.{verb}"

    # ---- entering (section 8, points 1, 2 and 5)

    async def enter(self) -> float:
        for verb, handler in {
            "assign": self.assign,
            "cancel": self.cancel,
            "drain": self.drain,
            "renew": self.renew,
            "ping": self.ping,
        }.items():
            await self.client.subscribe(self.subject(verb), cb=handler)
        await self.client.flush()
        heartbeat_s = await self.join()
        for outcome, expect in self.spool.all():
            await self.record(outcome, expect)
        return heartbeat_s

    async def join(self) -> float:
        request = {
            "agent_id": self.agent_id,
            "instance": self.instance,
            "kinds": KINDS,
            "slots": SLOTS,
            "spooled": [{"task_id": o["task_id"], "epoch": o["epoch"]} for o, _ in self.spool.all()],
        }
        pause_s = 0.1
        while True:
            answer = await self.ask("join", request, timeout_s=10.0)
            if answer is not None and "error" not in answer:
                tell(joined=answer["orchestrator"])
                return float(answer["heartbeat_s"])
            if answer is not None and answer["error"]["code"] == "refused":
                raise SystemExit(answer["error"]["message"])
            await asyncio.sleep(pause_s)  # noqa: TID251 - a program, not a test
            pause_s = min(pause_s * 2, 5.0)

    async def ask(self, verb: str, body: Body, timeout_s: float = 3.0) -> Body | None:
        """The answer of an orchestrator, None if nobody answers in time."""
        try:
            answer = await self.client.request(self.subject(verb), write(body), timeout=timeout_s)
        except (NoRespondersError, NatsTimeout):
            return None
        return read(answer.data)

    async def beat_for_ever(self, every_s: float) -> None:
        while True:
            await self.client.publish(self.subject("heartbeat"), write(self.heartbeat()))
            await asyncio.sleep(every_s)  # noqa: TID251

    def heartbeat(self, state: str = "") -> Body:
        return {
            "agent_id": self.agent_id,
            "instance": self.instance,
            "state": state or ("draining" if self.is_draining else "online"),
            "slots": SLOTS,
            "running": list(self.running),
            "spooled": [outcome["epoch"] for outcome, _ in self.spool.all()],
            "kinds": KINDS,
            "sent_at": time.time(),
        }

    # ---- requests to this agent (points 3, 4 and 9)

    async def ping(self, message: Msg) -> None:
        if read(message.data).get("instance", "") in ("", self.instance):
            await message.respond(write(self.heartbeat(), message.data))

    async def assign(self, message: Msg) -> None:
        assignment = read(message.data)
        epoch = assignment["epoch"]
        answer = self.answers.get(epoch)
        if answer is None:
            reason = self.refusal(assignment["kind"])
            answer = {"accepted": not reason, "reason": reason, "epoch": epoch}
            if not reason:
                self.answers[epoch] = answer
                self.running[epoch] = asyncio.create_task(self.attempt(assignment))
        await message.respond(write(answer, message.data))

    def refusal(self, kind: str) -> str:
        if self.is_draining:
            return "draining"
        if kind not in KINDS:
            return "unknown_kind"
        return "full" if len(self.running) >= SLOTS else ""

    async def cancel(self, message: Msg) -> None:
        attempt = self.running.get(read(message.data)["epoch"])
        if attempt is not None:
            attempt.cancel()
        await self.answer(message, {"ok": attempt is not None, "in_flight": len(self.running)})

    async def drain(self, message: Msg) -> None:
        self.is_draining = True
        await self.answer(message, {"ok": True, "in_flight": len(self.running)})
        await self.client.publish(self.subject("heartbeat"), write(self.heartbeat()))
        if not self.running:
            self.idle.set()

    async def renew(self, message: Msg) -> None:
        await self.answer(message, {"ok": False, "in_flight": len(self.running)})

    async def answer(self, message: Msg, body: Body) -> None:
        if message.reply:
            await message.respond(write(body, message.data))

    # ---- one attempt (points 6, 7, 8, 10 and 11)

    async def attempt(self, assignment: Body) -> None:
        began = time.monotonic()
        work: Callable[[Body], Awaitable[Any]] = getattr(self, assignment["kind"])
        outcome: Body = {
            "task_id": assignment["task_id"],
            "attempt": assignment["attempt"],
            "agent_id": self.agent_id,
            "epoch": assignment["epoch"],
        }
        try:
            async with asyncio.timeout(assignment.get("timeout_s")):
                outcome |= {"type": "succeeded", "result": await work(assignment)}
        except asyncio.CancelledError:
            self.leave_slot(assignment["epoch"])
            raise
        except Exception as problem:  # noqa: BLE001 - whatever the work raises is its failure
            error_class = "timeout" if isinstance(problem, TimeoutError) else "handler"
            error = {
                "error_class": error_class,
                "message": str(problem),
                "retryable": True,
                "retry_after_s": 0,
            }
            outcome |= {"type": "failed", "error": error}
        outcome |= {"service_s": time.monotonic() - began, "at": time.time()}
        self.spool.keep(outcome, assignment["expect"])
        self.leave_slot(assignment["epoch"])
        await self.record(outcome, assignment["expect"])

    def leave_slot(self, epoch: int) -> None:
        self.running.pop(epoch, None)
        if self.is_draining and not self.running:
            self.idle.set()

    async def record(self, outcome: Body, expect: int) -> None:
        """Until the ledger has it, or has moved on without it."""
        while True:
            stored, err_code = await self.append(outcome, expect)
            if stored:
                break
            if err_code not in (10071, 10164):  # silence, or the stream is full: the same again
                await asyncio.sleep(0.2)  # noqa: TID251
                continue
            answer = await self.ask("settle", {"task_id": outcome["task_id"], "epoch": outcome["epoch"]})
            if answer is None or "error" in answer:
                await asyncio.sleep(0.2)  # noqa: TID251
                continue
            tell(settled=answer["verdict"], task_id=outcome["task_id"])
            if answer["verdict"] != "resend":
                break
            outcome, expect = outcome | {"epoch": answer["epoch"]}, answer["expect"]
        self.spool.forget(outcome)

    async def append(self, outcome: Body, expect: int | None) -> tuple[int, int]:
        """Publish to the ledger: the sequence it is stored at, or why not; (0, 0) when nobody knows."""
        story = f"{self.fleet}.ledger.{outcome['task_id']}.>"
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(expect),
            "Nats-Expected-Last-Subject-Sequence-Subject": story,
        }
        subject = f"{self.fleet}.ledger.{outcome['task_id']}.agent.{self.agent_id}"
        try:
            answer = await self.client.request(
                subject, write(outcome), timeout=5.0, headers=headers if expect is not None else None
            )
        except (NoRespondersError, NatsTimeout):
            return 0, 0
        ack = json.loads(answer.data)
        return int(ack.get("seq", 0)), int(ack.get("error", {}).get("err_code", 0))

    async def emit(self, assignment: Body, offset: int, data: Any) -> None:
        subject = f"{self.fleet}.chunk.{self.agent_id}.{assignment['task_id']}.{assignment['attempt']}"
        headers = {"Nats-Msg-Id": f"{self.instance}.{assignment['epoch']}.{offset}"}
        await self.client.request(
            subject, write({"offset": offset, "data": data}), timeout=5.0, headers=headers
        )

    # ---- the two kinds

    async def shout(self, assignment: Body) -> Body:
        words = [word.upper() for word in assignment["payload"]["text"].split()]
        for offset, word in enumerate(words):
            await self.emit(assignment, offset, word + " ")
        return {"text": " ".join(words)}

    async def stubborn(self, assignment: Body) -> str:
        task_id, epoch, expect = assignment["task_id"], assignment["epoch"], assignment["expect"]
        if assignment["attempt"] == 1:
            late = {"type": "succeeded", "task_id": task_id, "attempt": 1, "agent_id": self.agent_id}
            self.first_tries[task_id] = late | {"epoch": epoch, "result": "too late"}, expect
            raise RuntimeError("not this time")
        late, old_expect = self.first_tries[task_id]
        go_on = asyncio.Event()

        async def told(_: Msg) -> None:
            go_on.set()

        await self.client.subscribe(f"{self.fleet}.go-on.{task_id}", cb=told)
        _, err_code = await self.append(late, old_expect)
        stored, _ = await self.append(late, None)
        tell(task_id=task_id, with_guard=err_code, without_guard=stored)
        await go_on.wait()
        return "in time"


async def main(url: str, fleet: str, agent_id: str, folder: str) -> None:
    rejoin = asyncio.Event()

    async def reconnected() -> None:
        rejoin.set()

    client = await nats.connect(
        url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, reconnected_cb=reconnected
    )
    agent = Agent(client, fleet, agent_id, Spool(Path(folder)))
    beating = asyncio.create_task(agent.beat_for_ever(await agent.enter()))

    async def rejoin_for_ever() -> None:
        while True:
            await rejoin.wait()
            rejoin.clear()
            await agent.join()

    joining = asyncio.create_task(rejoin_for_ever())
    await agent.idle.wait()
    for task in (beating, joining):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await client.publish(agent.subject("heartbeat"), write(agent.heartbeat("offline")))
    await client.drain()
    tell(left=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
