"""REST for the fleet as a whole, and the three addresses that machines watch: health, readiness, metrics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from outrider.ui.api_tasks import answer
from outrider.ui.bridge import Bridge
from outrider.ui.metrics import CONTENT_TYPE, render

ORCHESTRATOR_SILENT_S = 6.0
MOST_SCHEDULES = 1_000


def fleet_routes(bridge: Bridge) -> APIRouter:
    """Agents, queues, `/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter()

    @router.get("/api/v1/agents", tags=["fleet"], summary="Every agent that is known")
    async def agents() -> Response:
        return answer({"agents": bridge.projection.roster.objects(bridge.clock.wall())})

    @router.get("/api/v1/queues", tags=["fleet"], summary="How many tasks wait, by kind and priority")
    async def queues() -> Response:
        projection = bridge.projection
        found = [{"kind": q.kind, "priority": q.priority, "waiting": q.waiting} for q in projection.queues]
        return answer({"waiting": projection.waiting, "queues": found})

    @router.get(
        "/api/v1/schedules", tags=["fleet"], summary="Cron schedules and delayed tasks, the next first"
    )
    async def schedules(limit: Annotated[int, Query(ge=1, le=MOST_SCHEDULES)] = 50) -> Response:
        found = await bridge.client.schedules(limit)
        return answer({"schedules": [view.as_map() for view in found]})

    @router.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return answer({"status": "ok"})

    @router.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        checks = readiness(bridge)
        is_ready = all(check["ok"] for check in checks if check["required"])
        body = {"status": "ready" if is_ready else "not ready", "checks": checks}
        return answer(body, 200 if is_ready else 503)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        text = render(bridge.hub, bridge.feeds.lag, bridge.version)
        return Response(text, media_type=CONTENT_TYPE)

    return router


def readiness(bridge: Bridge) -> list[dict[str, Any]]:
    """What must hold for the pages to be true. A silent orchestrator is told, but the pages still work."""
    listed_at = bridge.projection.roster.listed_at
    silent_s = None if listed_at is None else bridge.clock.wall() - listed_at
    return [
        {"check": "nats_connected", "ok": bridge.client.connection.is_connected, "required": True},
        {"check": "ledger_caught_up", "ok": bridge.feeds.caught_up.is_set(), "required": True},
        {
            "check": "orchestrator_answers",
            "ok": silent_s is not None and silent_s < ORCHESTRATOR_SILENT_S,
            "required": False,
        },
    ]
