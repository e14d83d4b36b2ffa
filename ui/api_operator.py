"""REST for operators: dead letters and pauses. What they mean and who decides stands elsewhere."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from outrider.broker.errors import InvalidTask, OutriderError, error_from_wire
from outrider.broker.letters import LetterList
from outrider.broker.pausing import PauseRequest
from outrider.broker.schema import from_map, to_map
from outrider.broker.subjects import check_name
from outrider.client import LetterFilter
from outrider.ui.api_tasks import answer
from outrider.ui.bridge import Bridge
from outrider.ui.submission import read_json

MOST_BODY_BYTES = 4096
MOST_LISTED = 200
REASON = {"type": "string", "description": "kept with the decision"}
PAUSE = {"kind": {"type": "string"}, "all": {"type": "boolean"}, "reason": REASON}


def _takes(properties: dict[str, Any], *, is_required: bool) -> dict[str, Any]:
    """How the API describes a body."""
    schema = {"type": "object", "properties": properties}
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


def operator_routes(bridge: Bridge) -> APIRouter:
    """The routes `/api/v1/dead`, `/api/v1/pause` and `/api/v1/resume`."""
    router = APIRouter(prefix="/api/v1", tags=["operator"])
    client = bridge.client

    @router.get("/dead", summary="Dead letters that nobody dealt with, newest first")
    async def dead(
        kind: str = "",
        error_class: str = "",
        older_than_s: float | None = None,
        newer_than_s: float | None = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        before: int | None = None,
    ) -> Response:
        which = LetterFilter(kind, error_class, older_than_s, newer_than_s)
        found = to_map(await client.letter_page(which, limit, before))
        return answer({name: found.get(name) for name in ("letters", "matched", "next_before", "unlisted")})

    @router.post(
        "/dead/{task_id}/requeue",
        summary="Do a dead task again, as a new task",
        openapi_extra=_takes({"reason": REASON}, is_required=False),
    )
    async def requeue(request: Request, task_id: str) -> Response:
        given = await _body(request, {"reason"})
        return answer(_letter(await client.requeue(check_name(task_id, "task_id"), reason=_reason(given))))

    @router.post(
        "/dead/{task_id}/discard",
        summary="Have a dead task listed no more",
        openapi_extra=_takes({"reason": REASON}, is_required=False),
    )
    async def discard(request: Request, task_id: str) -> Response:
        given = await _body(request, {"reason"})
        return answer(_letter(await client.discard(check_name(task_id, "task_id"), reason=_reason(given))))

    @router.post(
        "/pause",
        summary="Start nothing more of a kind, or of any with all",
        openapi_extra=_takes(PAUSE, is_required=True),
    )
    async def pause(request: Request) -> Response:
        wanted = await _pause_request(request)
        return answer(to_map(await client.pause(wanted.kind or None, wanted.reason)))

    @router.post(
        "/resume",
        summary="Let a kind go on, or with all everything that is paused",
        openapi_extra=_takes(PAUSE, is_required=True),
    )
    async def resume(request: Request) -> Response:
        wanted = await _pause_request(request)
        return answer(to_map(await client.resume(wanted.kind or None, wanted.reason)))

    return router


async def _body(request: Request, known: set[str]) -> dict[str, Any]:
    """The JSON object of a request, empty without one. Raises DecodeError, InvalidTask, PayloadTooLarge."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    given = await read_json(request, MOST_BODY_BYTES)
    if not isinstance(given, dict):
        raise InvalidTask("the body is not a JSON object")
    unknown = set(given) - known
    if unknown:
        raise InvalidTask(f"unknown field {min(unknown)!r}", hint=f"known: {', '.join(sorted(known))}")
    return given


def _reason(given: dict[str, Any]) -> str:
    reason = given.get("reason", "")
    if not isinstance(reason, str):
        raise InvalidTask("reason is not a text")
    return reason[:200]


async def _pause_request(request: Request) -> PauseRequest:
    given = await _body(request, set(PAUSE))
    return from_map(PauseRequest, given | {"reason": _reason(given)}).check()


def _letter(answered: LetterList) -> dict[str, Any]:
    """The one letter that was meant. Raises what kept it from being dealt with."""
    letter = answered.letters[0]
    error: OutriderError | None = error_from_wire({"error": letter.error}) if letter.error else None
    if error is not None:
        raise error
    return {name: value for name, value in to_map(letter).items() if name != "error"}
