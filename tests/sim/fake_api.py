"""The few requests to the API of JetStream that the shell's own code makes in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outrider.broker.pipeline import SECOND
from tests.sim.fake_server import SUBJECTS, FakeServer, Reply


def answer_api(server: FakeServer, request: str, body: Mapping[str, int], reply: Reply) -> None:
    """Delete one message, or tell how a stream stands."""
    if request == f"STREAM.MSG.DELETE.{SUBJECTS.tasks_stream}":
        server.delete_task(body["seq"], reply)
    elif server.has_jetstream:
        reply(_info(server, request))


def _info(server: FakeServer, request: str) -> Any:
    if request == f"STREAM.INFO.{SUBJECTS.later_stream}":
        return {"state": {"messages": len(server.later_stream.messages), "bytes": 0}}
    assert request == f"STREAM.INFO.{SUBJECTS.objects_stream}", request
    return {"config": {"max_age": int(server.objects.max_age_s * SECOND)}}
