"""The command `router eval`: what is asked for twice runs once, a wrong name is usage, no silent end."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from outrider.cli.main import main
from tests.unit.router.measured_folder import make_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("measured"))


def command(folder: Path, *more: str) -> list[str]:
    return ["router", "eval", "--data", str(folder), "--fleets", "1", *more]


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_what_is_named_twice_runs_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twice = ["--bench", "R,R", "--arrivals", "conv,conv", "--loads", "0.5,0.50", "--scenarios", "base,base"]
    assert main(command(folder, *twice, "--policies", "random,round_robin,random", "--json")) == 0
    assert [row["policy"] for row in answer(capsys)["rows"]] == ["random", "round_robin"]


@pytest.mark.parametrize("option", ["--policies", "--bench", "--arrivals", "--scenarios"])
def test_a_wrong_name_is_a_wrong_command_line(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, option, "lowest", "--json")) == 2
    error = answer(capsys)["error"]
    assert error["code"] == "unknown_policy"
    assert "'lowest'" in error["message"]
    assert error["hint"].startswith("use one of: ")


@pytest.mark.skipif(find_spec("litellm") is not None, reason="litellm is installed")
def test_no_policy_left_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "--policies", "litellm_latency", "--json")) == 1
    assert "no policy is left to run" in answer(capsys)["error"]["message"]


def test_a_damaged_folder_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path)
    path = tmp_path / "bfcl_prompts.csv.gz"
    path.write_bytes(path.read_bytes()[:-30])
    assert main(command(tmp_path)) == 1
    assert "bfcl_prompts.csv.gz is not whole" in capsys.readouterr().err.splitlines()[-1]
