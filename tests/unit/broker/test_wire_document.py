"""docs/wire.md is kept true: every message, field, word, code and subject of the source stands in it."""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

from outrider.broker import (
    errors,
    estimates,
    facts,
    letters,
    limits,
    messages,
    object_ref,
    outcomes,
    pausing,
    routing,
    states,
    streams,
    views,
)
from outrider.broker.codec import MAX_BODY_BYTES, MAX_DEPTH, MAX_ENVELOPE_BYTES, load
from outrider.broker.errors import OutriderError
from outrider.broker.messages import MAX_PAYLOAD_DEPTH
from outrider.broker.subjects import Subjects
from outrider.ledger import control, entries
from outrider.ledger.control import CONTROL_TYPES
from outrider.ledger.entries import ENTRY_CLASSES, MEMBER_TYPES
from outrider.orchestrator.config import Thresholds

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text(encoding="utf-8")
MODULES = (
    messages,
    object_ref,
    outcomes,
    routing,
    states,
    views,
    facts,
    entries,
    letters,
    pausing,
    control,
    limits,
    estimates,
)


def defined_in(module: ModuleType) -> list[type]:
    return [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]


MESSAGES = [kind for module in MODULES for kind in defined_in(module) if dataclasses.is_dataclass(kind)]
WORDS = [kind for module in MODULES for kind in defined_in(module) if issubclass(kind, Enum)]


def section(title: str) -> str:
    """The text under a heading, up to the next."""
    found = re.search(rf"^### {title}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/wire.md has no section about {title}"
    return found[1]


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_field_of_a_message_is_described(kind: type) -> None:
    text = section(kind.__name__)
    fields = dataclasses.fields(kind)
    missing = [field.name for field in fields if f"`{field.name}`" not in text]
    assert not missing, f"docs/wire.md does not describe {kind.__name__}.{missing}"


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_nothing_is_described_that_does_not_exist(kind: type) -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", section(kind.__name__), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    known = {field.name for field in dataclasses.fields(kind)}
    words = {str(word.value) for other in WORDS for word in other}
    assert described <= known | words


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_required_fields_are_marked(kind: type) -> None:
    for row in re.findall(r"^\| (`[^|]*`) \|([^|]*)\|([^|]*)\|", section(kind.__name__), re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row[0]):
            field = next((f for f in dataclasses.fields(kind) if f.name == name), None)
            if field is None:
                continue
            nothing = dataclasses.MISSING
            is_required = field.default is nothing and field.default_factory is nothing
            assert is_required == ("**req**" in row[2]), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_every_word_of_a_closed_set_is_there(kind: type[Enum]) -> None:
    assert [word.value for word in kind if f"`{word.value}`" not in PAGE] == []


def test_every_entry_type_and_every_subject_is_there() -> None:
    assert [name for name in {*ENTRY_CLASSES, *MEMBER_TYPES, *CONTROL_TYPES} if f"`{name}`" not in PAGE] == []
    s = Subjects("outrider")
    fixed = [value for value in vars(s).values() if isinstance(value, str) and value != "outrider"]
    built = [
        s.task("<kind>", "<priority>", "<task_id>"),  # type: ignore[arg-type]
        s.task_anywhere("<task_id>"),
        s.tasks_of("<kind>", "<priority>"),  # type: ignore[arg-type]
        s.story("<task_id>"),
        s.ledger_orchestrator("<task_id>", "<orchestrator_id>"),
        s.ledger_agent("<task_id>", "<agent_id>"),
        s.live("<task_id>"),
        s.member("<agent_id>"),
        s.control("<id>"),
        s.pulse("<id>"),
        s.chunk("<agent_id>", "<task_id>", "<attempt>"),  # type: ignore[arg-type]
        s.chunks_of("<task_id>"),
        s.consumer("<kind>", "<priority>"),  # type: ignore[arg-type]
    ]
    verbs = ["join", "settle", "heartbeat", "assign", "cancel", "drain", "ping", "renew"]
    built += [s.agent("<agent_id>", verb) for verb in verbs]
    assert [subject for subject in fixed + built if subject not in PAGE] == []


def test_every_error_code_is_there() -> None:
    kinds = [kind for kind in defined_in(errors) if issubclass(kind, OutriderError)]
    assert [kind.code for kind in kinds if f"`{kind.code}`" not in PAGE] == []


def test_the_limits_are_those_of_the_source() -> None:
    for number in (MAX_BODY_BYTES, MAX_ENVELOPE_BYTES):
        assert f"{number:,} bytes" in PAGE
    assert f"at most {MAX_DEPTH} deep; a `payload` at most {MAX_PAYLOAD_DEPTH}" in PAGE


def test_the_streams_are_described_as_they_are_made() -> None:
    text = PAGE[PAGE.index("## 6. Streams") : PAGE.index("## 7. ")]
    for wanted in streams.stream_definitions(Subjects("outrider"), streams.StreamLimits()):
        assert wanted["name"] in text
        assert all(subject in text for subject in wanted["subjects"])
        gib, mib = wanted["max_bytes"] // streams.GIB, wanted["max_bytes"] // 1024**2
        assert (f"{gib} GiB" if gib else f"{mib} MiB") in text or gib < 0


def test_every_setting_of_time_is_there() -> None:
    text = PAGE[PAGE.index("## 12. Timing") :]
    sizes = {"lookahead", "most_held", "batch", "most_candidates", "most_dead_letters"}
    names = {field.name for field in dataclasses.fields(Thresholds)} - sizes
    inner = {"unfit_first_s", "unfit_cap_s", "loop_stall_s"}
    assert [name for name in sorted(names - inner) if f"`{name}`" not in text] == []


def test_the_examples_in_hex_say_what_the_examples_in_json_say() -> None:
    shown = {
        json.dumps(load(bytes.fromhex(text))) for text in re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)
    }
    said = {json.dumps(load(text.encode())) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)}
    assert len(shown) == 3
    assert shown <= said
