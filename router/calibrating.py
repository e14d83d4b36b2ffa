"""How true a fleet's predictions were, read from the newest part of its ledger."""

from __future__ import annotations

import contextlib
from typing import Any

from outrider.broker.config import NatsSettings
from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import DecodeError, NobodyAnswers
from outrider.broker.follower import StreamReader
from outrider.broker.schema import to_map
from outrider.broker.streams import NOT_FOUND
from outrider.broker.subjects import Subjects
from outrider.ledger.calibration import WINDOW, CalibrationOfLedger, Coverage
from outrider.ledger.reader import record_of

PAGE = 1_000
ENTRIES_FOR_ONE = 4
"""Entries read for each attempt that is wanted: an attempt has two, and those that failed are passed over."""


async def router_stats(settings: NatsSettings, fleet: str, window: int = WINDOW) -> dict[str, Any]:
    """Coverage of p50 and p90 over the newest attempts, of all and by kind.

    Raises NobodyAnswers when there is no ledger, NatsUnavailable or WrongCredentials.
    """
    subjects = Subjects(fleet)
    async with await Connection.open(settings, "router stats") as connection:
        first = max(1, await _last_seq(connection, subjects) - ENTRIES_FOR_ONE * window + 1)
        reader = StreamReader(connection, subjects.ledger_stream)
        fold = CalibrationOfLedger(window)
        while page := await reader.all_of(subjects.all_ledger, first, PAGE):
            for stored in page:
                with contextlib.suppress(DecodeError):
                    fold.entry(record_of(stored))
            first = page[-1].seq + 1
    found = fold.calibration
    by_kind = {kind: _object(coverage) for kind, coverage in found.by_kind().items()}
    return _object(found.coverage()) | {"kinds": by_kind}


async def _last_seq(connection: Connection, subjects: Subjects) -> int:
    try:
        info = await connection.api(f"STREAM.INFO.{subjects.ledger_stream}")
    except ApiError as error:
        if error.err_code == NOT_FOUND:
            raise NobodyAnswers(f"fleet {subjects.fleet!r} has no ledger: no orchestrator ever ran") from None
        raise
    return int(info["state"]["last_seq"])


def _object(coverage: Coverage) -> dict[str, Any]:
    return {"p50_coverage": None, "p90_coverage": None} | to_map(coverage)
