"""REST for whole payloads and results, also those that lie in the object store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from outrider.broker.errors import TaskNotFound
from outrider.broker.object_ref import ObjectRef
from outrider.broker.states import TaskState
from outrider.ui.api_tasks import answer, whole_task
from outrider.ui.bridge import Bridge


def value_routes(bridge: Bridge) -> APIRouter:
    """The routes of what a task was given and what it returned."""
    router = APIRouter(prefix="/api/v1/tasks", tags=["tasks"])

    @router.get("/{task_id}/payload", summary="The whole payload of a task, also a large one")
    async def payload(task_id: str) -> Response:
        found = await whole_task(bridge, task_id)
        return await _answer(bridge, found["payload"], found.get("payload_ref"))

    @router.get("/{task_id}/result", summary="The whole result of a task that succeeded, also a large one")
    async def result(task_id: str) -> Response:
        found = await whole_task(bridge, task_id)
        if found["state"] != TaskState.SUCCEEDED:
            raise TaskNotFound(f"task {task_id} is {found['state']} and has no result")
        return await _answer(bridge, found["result"], found.get("result_ref"))

    return router


async def _answer(bridge: Bridge, value: Any, ref: dict[str, Any] | None) -> Response:
    if ref is None:
        return answer(value)
    async with bridge.large_bodies:
        return answer(await bridge.client.fetch(ObjectRef(**ref)))
