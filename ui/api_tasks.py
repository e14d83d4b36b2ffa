"""REST for tasks: submit, list, read, follow, cancel. What a task is and who may do what stands elsewhere."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from outrider.broker.codec import MAX_ENVELOPE_BYTES
from outrider.broker.errors import TaskNotFound
from outrider.broker.states import TaskState
from outrider.broker.subjects import check_name, parse_ledger
from outrider.client import ScheduleView, Task
from outrider.client.reading import records_of
from outrider.ledger.fold import Story
from outrider.ui.bridge import Bridge
from outrider.ui.hub import to_json
from outrider.ui.rows import (
    Row,
    estimate_object,
    event_object,
    scheduled_object,
    story_object,
    task_object,
    waiting_object,
)
from outrider.ui.sse import events, loaded, parse_event_id
from outrider.ui.submission import SUBMISSION_SCHEMA, one_key, read_json, read_submission
from outrider.ui.submitting import accept
from outrider.ui.task_lists import Wanted, scheduled_page, task_page

BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": SUBMISSION_SCHEMA}}}}
MOST_EVENTS = 1_000


def is_large(request: Request) -> bool:
    """Whether a body may be over the inline limit; one of unknown length may."""
    length = request.headers.get("content-length", "")
    return not length.isdigit() or int(length) > MAX_ENVELOPE_BYTES


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as it is, also where it holds bytes."""
    return Response(to_json(body), status, headers, media_type="application/json")


def task_routes(bridge: Bridge) -> APIRouter:
    """The routes under `/api/v1/tasks`."""
    router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"], default_response_class=JSONResponse)
    client, subjects = bridge.client, bridge.client.subjects

    @router.post("", status_code=201, openapi_extra=BODY, summary="Submit a task")
    async def submit(request: Request, idempotency_key: Annotated[str | None, Header()] = None) -> Response:
        async with bridge.large_bodies if is_large(request) else nullcontext():
            wanted = await read_submission(request, client.largest_object)
            task = await accept(client, wanted, one_key(wanted, idempotency_key))
        if isinstance(task, ScheduleView):
            return answer(task.as_map(), 201, {"Location": "/api/v1/schedules"})
        row = await whole_task(bridge, task.task_id) if wanted.is_arranged else _of_handle(bridge, task)
        body = row | {"warning": task.warning}
        if task.eta is not None:
            body["eta"] = estimate_object(task.eta)
        return answer(body, 201, {"Location": f"/api/v1/tasks/{task.task_id}"})

    @router.get("", summary="List tasks: the known ones newest first, then those that wait")
    async def listing(
        state: str | None = None,
        kind: str | None = None,
        limit: Annotated[int, Query()] = 50,
        cursor: str | None = None,
    ) -> Response:
        wanted = Wanted(state, kind, limit, cursor)
        if state == TaskState.SCHEDULED:
            return answer(await scheduled_page(wanted, client))
        return answer(await task_page(wanted, bridge.projection, client.reader, subjects))

    @router.get("/{task_id}", summary="One task with payload and result")
    async def get(task_id: str) -> Response:
        return answer(await whole_task(bridge, task_id))

    @router.get("/{task_id}/events", summary="The story of a task: every ledger entry, in order")
    async def story(task_id: str) -> Response:
        return answer({"task_id": task_id, "events": await _events(bridge, task_id)})

    @router.get("/{task_id}/stream", summary="The task and its output as server-sent events")
    async def stream(task_id: str, last_event_id: Annotated[str | None, Header()] = None) -> Response:
        watch = bridge.watches.open(check_name(task_id, "task_id"))
        try:
            await loaded(watch, bridge.hub)
            if watch.task() is None:
                raise TaskNotFound(f"no task {task_id!r} waits or stands in the ledger")
        except BaseException:
            bridge.watches.close(task_id)
            raise
        had = parse_event_id(last_event_id)
        return StreamingResponse(
            events(watch, bridge.watches, bridge.hub, had),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.post("/{task_id}/cancel", summary="End a task now")
    async def cancel(request: Request, task_id: str) -> Response:
        has_body = request.headers.get("content-length", "0") != "0"
        given = await read_json(request, 4096) if has_body else {}
        reason = str(given.get("reason", ""))[:200] if isinstance(given, dict) else ""
        return answer(task_object(await client.cancel(task_id, reason)))

    return router


def _of_handle(bridge: Bridge, task: Task) -> Row:
    story = task.watch.story
    if story.expect or story.envelope is None:
        return story_object(story) | _payload(story)
    return waiting_object(story.envelope, bridge.clock.wall()) | _payload(story)


def _payload(story: Story) -> Row:
    return {"payload": story.envelope.payload if story.envelope else None}


async def whole_task(bridge: Bridge, task_id: str) -> Row:
    known = await bridge.client.reader.known(check_name(task_id, "task_id"))
    if known.story.expect and known.story.state is not TaskState.QUEUED:
        live = bridge.projection.live.get(task_id)
        is_running = live is not None and live.is_running and live.story.epoch == known.story.epoch
        return story_object(known.story, is_running) | _payload(known.story)
    if known.waiting is None:
        scheduled = await bridge.client.scheduled(task_id)
        if scheduled is not None:
            return scheduled_object(scheduled.as_task(), scheduled.task)
        raise TaskNotFound(f"no task {task_id!r} waits or stands in the ledger")
    envelope = known.waiting.envelope
    return waiting_object(envelope, known.waiting.stored_at) | {"payload": envelope.payload}


async def _events(bridge: Bridge, task_id: str) -> list[Row]:
    reader, subjects = bridge.client.reader, bridge.client.subjects
    story_of = subjects.story(check_name(task_id, "task_id"))
    records = records_of(await reader.ledger.all_of(story_of, most=MOST_EVENTS))
    if not records and await reader.waiting(task_id) is None:
        raise TaskNotFound(f"no task {task_id!r} waits or stands in the ledger")
    story, found = Story(task_id), []
    for record in records:
        ignored = story.apply(record.seq, parse_ledger(record.subject), record.entry, record.stored_at)
        found.append(event_object(record, ignored))
    return found
