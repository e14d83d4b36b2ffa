"""REST for estimates: when a task would finish, without submitting it."""

from __future__ import annotations

from contextlib import nullcontext

from fastapi import APIRouter, Request, Response

from outrider.ui.api_tasks import BODY, answer, is_large
from outrider.ui.bridge import Bridge
from outrider.ui.rows import estimate_object
from outrider.ui.submission import read_submission


def estimate_routes(bridge: Bridge) -> APIRouter:
    """`POST /api/v1/estimate`."""
    router = APIRouter()

    @router.post(
        "/api/v1/estimate", tags=["tasks"], openapi_extra=BODY, summary="When such a task would finish"
    )
    async def estimate(request: Request) -> Response:
        async with bridge.large_bodies if is_large(request) else nullcontext():
            wanted = await read_submission(request, bridge.client.largest_object)
        found = await bridge.client.estimate(
            wanted.kind,
            wanted.payload,
            priority=wanted.priority,
            deadline_s=wanted.deadline_s,
            requires=wanted.requires,
            limit_key=wanted.limit_key,
        )
        return answer(estimate_object(found))

    return router
