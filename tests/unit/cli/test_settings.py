"""Where a command runs: arguments over the environment, and a private server that others find."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from outrider.broker.config import DEFAULT_URL, PRIVATE, environment, nats_settings, private_server_note
from outrider.cli.config import surroundings
from outrider.cli.main import build_parser


def write_note(pid: int) -> None:
    note = private_server_note(environment())
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"url": "nats://127.0.0.1:4999", "pid": pid}))


def test_a_running_private_server_is_found() -> None:
    write_note(os.getpid())
    settings = nats_settings(environment())
    assert (settings.url, settings.source) == ("nats://127.0.0.1:4999", PRIVATE)
    assert settings.is_default


def test_what_is_named_counts_more_than_a_private_server(monkeypatch: pytest.MonkeyPatch) -> None:
    write_note(os.getpid())
    assert nats_settings(environment(), "nats://other:1").url == "nats://other:1"
    monkeypatch.setenv("NATS_URL", "nats://named:1")
    assert nats_settings(environment()).url == "nats://named:1"


@pytest.mark.parametrize("text", ["", "{}", '{"url": "x", "pid": "y"}', "[1]"])
def test_a_broken_note_is_no_server(text: str) -> None:
    note = private_server_note(environment())
    note.parent.mkdir(parents=True)
    note.write_text(text)
    assert nats_settings(environment()).url == DEFAULT_URL


def test_the_server_of_a_dead_program_is_not_used() -> None:
    write_note(2**22 + 1)
    assert nats_settings(environment()).source == "default"


def test_the_state_folder_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_STATE", "elsewhere")
    options = build_parser().parse_args(["task", "ls", "--state", str(tmp_path), "--fleet", "f"])
    here = surroundings(options)
    assert (here.state, here.fleet) == (tmp_path, "f")
    children = here.for_children(nats_settings({}, "nats://127.0.0.1:1"))
    assert children["OUTRIDER_STATE"] == str(tmp_path)
    assert (children["NATS_URL"], children["OUTRIDER_FLEET"]) == ("nats://127.0.0.1:1", "f")
