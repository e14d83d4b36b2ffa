"""The command line itself: help with examples, global options anywhere, mistakes told in one line."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from outrider.cli.__main__ import main as start
from outrider.cli.main import build_parser, main

HEAVY = ("nats", "numpy", "sklearn", "joblib", "fastapi", "uvicorn", "openai", "xllamacpp")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


@pytest.mark.parametrize("parser", list(parsers(build_parser())), ids=lambda parser: parser.prog)
def test_every_help_has_an_example(parser: argparse.ArgumentParser) -> None:
    text = parser.format_help()
    assert "example" in text
    assert "--json" in text


def test_the_help_loads_nothing_heavy() -> None:
    code = "import sys\nfrom outrider.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    assert "outrider demo" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["--fleet", "f", "task", "ls"], ["task", "--fleet", "f", "ls"], ["task", "ls", "--fleet", "f"]],
)
def test_global_options_stand_anywhere(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).fleet == "f"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["submit", "chat", "--priority", "high"],
        ["submit", "chat", "--deadline", "-3"],
        ["submit", "chat", "--data", '{"a":'],
        ["submit", "chat", "--data", "NaN"],
        ["submit", "chat", "--data", "@no-such-file"],
        ["agent"],
        ["agent", "--kinds", ","],
        ["agent", "--kinds", "echo", "--slots", "0"],
        ["ui", "--port", "99999"],
        ["task"],
        ["task", "ls", "--limit", "0"],
        ["task", "ls", "--fleet", "a.b"],
    ],
)
def test_a_mistake_is_one_line_and_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("outrider: ")
    assert err.count("\n") == 1


def test_with_json_a_mistake_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "chat", "--data", "{", "--json"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    error = json.loads(out)["error"]
    assert error.keys() == {"code", "message", "hint"}
    assert error["code"] == "usage"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "outrider demo" in capsys.readouterr().err


def test_versions_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert versions["outrider"]
    assert versions["python"].startswith("3.")


class Interrupts:
    """Ctrl-C at the moment at which the command line is imported."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "outrider.cli.main":
            raise KeyboardInterrupt


def test_ctrl_c_before_anything_is_imported_is_answered_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "outrider.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    assert start() == 130
    assert capsys.readouterr().err == "outrider: interrupted\n"
