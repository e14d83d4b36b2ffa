"""The attempts of one agent: what it accepts, runs, stops and hands to the recorder. Knows no subject."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from outrider.agents.attempt import Attempt, Ending, Handler, Result, call_async, call_in_thread, is_async
from outrider.agents.chunks import ChunkStream
from outrider.agents.outcome import classify
from outrider.agents.recorder import Recorder
from outrider.agents.spool import Finished
from outrider.agents.task import Task
from outrider.broker.errors import OutriderError
from outrider.broker.messages import AssignAnswer, Assignment, CancelAttempt, Done, Renew
from outrider.broker.object_ref import ObjectRef
from outrider.broker.outcomes import Failed, Succeeded

GRACE_S = 2.0
"""How long an async handler may clean up after its timeout before the outcome is recorded without it."""
REMEMBERED_EPOCHS = 4096


class Attempts:
    """Accepts and runs up to `slots` attempts. `is_draining` refuses new ones."""

    def __init__(
        self,
        agent_id: str,
        slots: int,
        handlers: Mapping[str, Handler],
        recorder: Recorder,
        open_stream: Callable[[Task], ChunkStream],
        fetch: Callable[[ObjectRef], Awaitable[Any]],
    ) -> None:
        self._agent_id = agent_id
        self._slots = slots
        self._handlers = {kind: (handler, not is_async(handler)) for kind, handler in handlers.items()}
        self._recorder = recorder
        self._open_stream = open_stream
        self._fetch = fetch
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, Attempt] = {}
        self._live: dict[tuple[str, int], Attempt] = {}
        """The same by task and number: a renewed one may be assigned again under the epoch it began with."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._known: dict[int, None] = dict.fromkeys(recorder.epochs)
        self.is_draining = False
        self.broken: asyncio.Future[None] = self._loop.create_future()
        """Holds the error if the machinery around a handler failed; the agent must not go on then."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs that hold a slot. Safe to read from another thread."""
        return tuple(self._running)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def accept(self, assignment: Assignment) -> AssignAnswer:
        """Start the attempt, once however often it is sent, or say why not."""
        epoch, who = assignment.epoch, (assignment.task_id, assignment.attempt)
        if epoch in self._known or who in self._live or self._recorder.has(*who):
            return AssignAnswer(accepted=True, epoch=epoch)
        refusal = self._refusal(assignment.kind)
        if refusal:
            return AssignAnswer(accepted=False, reason=refusal, epoch=epoch)
        self._remember(epoch)
        handler, is_in_thread = self._handlers[assignment.kind]
        attempt = Attempt(assignment, Task(assignment, self._open_stream), is_in_thread)
        self._running[epoch] = self._live[who] = attempt
        attempt.arm(self._loop, self._late)
        attempt.runner = self._spawn(self._run(attempt, handler))
        return AssignAnswer(accepted=True, epoch=epoch)

    def _refusal(self, kind: str) -> str:
        if self.is_draining:
            return "draining"
        if kind not in self._handlers:
            return "unknown_kind"
        if len(self._running) >= self._slots or self._recorder.is_behind:
            return "full"
        return ""

    def _remember(self, epoch: int) -> None:
        self._known[epoch] = None
        if len(self._known) > REMEMBERED_EPOCHS:
            del self._known[next(iter(self._known))]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is not None and not self.broken.done():
            self.broken.set_exception(problem)

    async def _run(self, attempt: Attempt, handler: Handler) -> None:
        call = call_in_thread if attempt.is_in_thread else call_async
        try:
            ref = attempt.assignment.payload_ref
            refused = None if ref is None else await self._fetch_payload(attempt, ref)
            result = await call(handler, attempt.task) if refused is None else refused
        except asyncio.CancelledError:
            result = attempt.stopped_result()
        finished = self._close(attempt, result if attempt.ending is None else attempt.stopped_result())
        self._running.pop(attempt.epoch, None)
        self._live.pop((attempt.assignment.task_id, attempt.assignment.attempt), None)
        if not self._running:
            self._idle.set()
        await self._deliver(attempt, finished)

    async def _fetch_payload(self, attempt: Attempt, ref: ObjectRef) -> Result | None:
        """Get a large payload for the handler; a result means that the handler is not called."""
        try:
            attempt.task.payload = await self._fetch(ref)
        except OutriderError as problem:
            return Result(error=classify(problem))
        # A sync handler's attempt cannot be cancelled here, only before it begins.
        return None if attempt.ending is None else attempt.stopped_result()

    def _late(self, attempt: Attempt) -> None:
        attempt.stop(Ending.TIMED_OUT)
        self._close_without_handler(attempt)

    def _close_without_handler(self, attempt: Attempt) -> None:
        """Decide the outcome now; a handler that goes on keeps its slot until it returns."""
        if attempt.is_in_thread or attempt.runner is None:
            self._spawn(self._deliver(attempt, self._close(attempt, attempt.stopped_result())))
        else:
            self._spawn(self._close_after_grace(attempt, attempt.runner))

    async def _close_after_grace(self, attempt: Attempt, runner: asyncio.Task[None]) -> None:
        await asyncio.wait({runner}, timeout=GRACE_S)
        await self._deliver(attempt, self._close(attempt, attempt.stopped_result()))

    def _close(self, attempt: Attempt, result: Result) -> Finished | None:
        """The outcome, kept on disk, at the first call; None afterwards and for what was cancelled."""
        if attempt.is_closed:
            return None
        attempt.is_closed = True
        attempt.disarm()
        if attempt.ending is Ending.CANCELLED:
            return None
        outcome = self._outcome(attempt, result)
        sent = self._recorder.encode(outcome)
        who = (outcome.task_id, outcome.attempt, attempt.epoch, attempt.expect)
        finished = Finished(*who, sent.data, sent.ref, sent.body)
        self._recorder.keep(finished)
        return finished

    def _outcome(self, attempt: Attempt, result: Result) -> Succeeded | Failed:
        given = attempt.assignment
        who = (given.task_id, given.attempt, self._agent_id, attempt.epoch)
        cost = (attempt.service_s, attempt.task._used, time.time())
        if result.error is not None:
            return Failed(*who, result.error, *cost)
        return Succeeded(*who, result.value, *cost)

    async def _deliver(self, attempt: Attempt, finished: Finished | None) -> None:
        if finished is None:
            if attempt.ending is Ending.CANCELLED and attempt.stream is not None:
                attempt.stream.close()
            return
        if attempt.stream is not None:
            await attempt.stream.flush()
        await self._recorder.record(finished)

    def cancel(self, request: CancelAttempt) -> Done:
        """Stop an attempt that the ledger has ended already: its outcome is not recorded."""
        attempt = self._running.get(request.epoch)
        if attempt is None or attempt.assignment.task_id != request.task_id:
            return Done(ok=False, in_flight=self.in_flight)
        attempt.stop(Ending.CANCELLED)
        if attempt.is_in_thread:
            self._close_without_handler(attempt)
        return Done(in_flight=self.in_flight)

    def renew(self, request: Renew) -> Done:
        """Give a live attempt its new fencing token; one that is older than the present is passed over."""
        attempt = self._live.get((request.task_id, request.attempt))
        if attempt is not None:
            if request.epoch > attempt.epoch:
                self._renumber(attempt.epoch, attempt, request)
            return Done(in_flight=self.in_flight)
        return Done(ok=self._recorder.renew(request), in_flight=self.in_flight)

    def _renumber(self, old: int, attempt: Attempt, request: Renew) -> None:
        # Its heartbeat reads from another thread: the attempt stands under both epochs for a moment.
        self._running[request.epoch] = attempt
        attempt.epoch, attempt.expect = request.epoch, request.expect
        del self._running[old]
        self._remember(request.epoch)

    async def finished(self, deliver_within_s: float) -> None:
        """Wait for what runs, however long, and then so long for its output and outcomes to be sent."""
        while self._running:
            self._idle.clear()
            await self._idle.wait()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deliver_within_s)

    async def interrupt(self, within_s: float) -> None:
        """Cancel every handler and record the attempts as interrupted, as far as `within_s` allows."""
        for attempt in list(self._running.values()):
            attempt.stop(Ending.INTERRUPTED)
            if attempt.is_in_thread:
                self._close_without_handler(attempt)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)

    def abandon(self) -> None:
        """Cancel what is left, so that the loop can end."""
        for task in self._tasks:
            task.cancel()
