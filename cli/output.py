"""What a command prints: data on stdout, everything else on stderr, one document with `--json`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from outrider.broker.errors import OutriderError
from outrider.broker.schema import to_map
from outrider.broker.views import AgentView, TaskView

TASK_KEYS = (
    "task_id",
    "kind",
    "state",
    "agent",
    "attempts",
    "predicted_s",
    "waiting_s",
    "service_s",
    "sojourn_s",
    "result",
    "error",
)
RARE_KEYS = ("requeued_from", "run_at", "after", "after_group", "group", "limit_key", "waits_for")
"""Absent where there is nothing to say."""


def task_object(view: TaskView) -> dict[str, Any]:
    """A task as every `--json` shows it; what is not known is null."""
    refs = {"payload_ref": view.payload_ref, "result_ref": view.result_ref}
    large = {name: to_map(ref) for name, ref in refs.items() if ref is not None}
    rare = {key: value for key in RARE_KEYS if (value := getattr(view, key)) is not None}
    return {key: getattr(view, key) for key in TASK_KEYS} | large | rare


def agent_object(view: AgentView) -> dict[str, Any]:
    """An agent as every `--json` shows it."""
    return {
        "agent_id": view.agent_id,
        "state": view.state.value,
        "kinds": list(view.kinds),
        "slots": view.slots,
        "in_flight": view.in_flight,
        "last_seen_s": view.last_seen_s,
    }


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON of a value that came off the wire: bytes as text, numbers that JSON lacks as null."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text, indent=indent)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_text, indent=indent)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(result: Any) -> str:
    """A result for people: text as it is, everything else as JSON."""
    return result if isinstance(result, str) else as_json(result, indent=2)


class OutputLost(OSError):
    """What was asked for cannot be written to stdout."""


def data(text: str, *, end: str = "\n") -> None:
    """Print what was asked for. Raises BrokenPipeError when the reader has gone, or OutputLost."""
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputLost(f"the output cannot be written: {error.strerror or error}") from None


def document(value: Any) -> None:
    """Print the one JSON document of a `--json` command."""
    data(as_json(value))


def note(text: str) -> None:
    """Tell the person something that is not data."""
    sys.stderr.write(f"outrider: {text}\n")
    sys.stderr.flush()


def complain(error: OutriderError, *, is_json: bool) -> None:
    """Print an error: one line on stderr, or the document on stdout."""
    if is_json:
        document(error.to_wire())
        return
    message = " ".join(error.message.split())
    note(f"{message} ({error.hint})" if error.hint else message)


def seconds(value: float | None) -> str:
    """A duration for a table, with as many digits as matter."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


def size(octets: int) -> str:
    """A number of bytes for people."""
    if octets < 1024:
        return f"{octets} bytes"
    return f"{octets / 1024:.0f} KiB" if octets < 1024**2 else f"{octets / 1024**2:.1f} MiB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need to be."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)
