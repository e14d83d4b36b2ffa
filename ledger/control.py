"""What operators decided, as entries on `<fleet>.control.<id>`: paused, resumed, requeued, discarded.

Pure: shapes, names and decoding. Other types of control entries are passed over.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from outrider.broker.codec import load
from outrider.broker.errors import DecodeError
from outrider.broker.messages import VERSION
from outrider.broker.schema import from_map

PAUSE_TYPES = frozenset({"paused", "resumed"})
LETTER_TYPES = frozenset({"requeued", "discarded"})
CONTROL_TYPES = PAUSE_TYPES | LETTER_TYPES


@dataclass(frozen=True, slots=True)
class Control:
    """One decision of an operator."""

    type: str
    kind: str = ""
    """What is paused or resumed; empty for the whole fleet. Of a dead letter: its task's kind."""
    task_id: str = ""
    """The dead task."""
    dead_seq: int = 0
    """Sequence of its `dead` entry."""
    requeued_as: str = ""
    reason: str = ""
    orchestrator: str = ""
    at: float = 0.0
    v: int = VERSION


def decode_control(data: bytes) -> Control:
    """The checked entry in a body of `<fleet>.control.<id>`. Raises DecodeError."""
    control = from_map(Control, load(data))
    if control.type not in CONTROL_TYPES:
        raise DecodeError(f"control entry of type {control.type!r} is not known here")
    return control


def requeued_id(task_id: str, dead_seq: int) -> str:
    """The id of the task that a dead one is requeued as: the same, whoever asks and however often."""
    return f"rq-{dead_seq}-{hashlib.sha256(task_id.encode()).hexdigest()[:8]}"


def letter_control_id(type_: str, dead_seq: int) -> str:
    """Where it is recorded that a dead letter is requeued or discarded: one place each, written once."""
    return f"{type_}-{dead_seq}"


def pause_control_id(kind: str) -> str:
    """Where pauses of a kind are recorded; those of the whole fleet with an empty kind."""
    control_id = f"pause-{kind}" if kind else "pause"
    return control_id if len(control_id) <= 64 else "pause-" + hashlib.sha256(kind.encode()).hexdigest()[:40]
