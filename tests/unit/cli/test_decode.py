"""`outrider decode` shows any body of the wire, and says clearly what it cannot read."""

from __future__ import annotations

import io
import json
from typing import Any

import msgpack
import pytest

from outrider.cli.main import main


def decode(monkeypatch: pytest.MonkeyPatch, body: bytes) -> int:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))
    return main(["decode"])


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (msgpack.packb({"kind": "chat", "n": [1, 2.5, None]}), {"kind": "chat", "n": [1, 2.5, None]}),
        (b'{"kind": "chat"}', {"kind": "chat"}),
        (msgpack.packb({"b": b"bytes", "x": float("nan")}), {"b": "bytes", "x": None}),
    ],
)
def test_a_body_becomes_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: bytes, shown: Any
) -> None:
    assert decode(monkeypatch, body) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == shown


@pytest.mark.parametrize("body", [b"", b'{"a":', b"\x83\xa1a", b"\xc1", b"{}{}"])
def test_what_cannot_be_read_is_said_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    assert decode(monkeypatch, body) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
