"""The command `router eval`: what is asked for twice runs once, a wrong name is usage, no silent end."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from outrider.cli.evaluation_text import TIMES, report_text
from outrider.cli.main import main
from outrider.router.evaluation.names import MEASURED_SCENARIOS, POLICIES, STRESS_SCENARIOS, TRACES
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


def test_the_tables_show_what_was_compared_in_120_columns(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = "random,least_outstanding_per_slot,least_outstanding,peak_ewma,outrider,oracle"
    asked = ["--bench", "R", "--arrivals", "conv", "--loads", "0.7", "--policies", policies]
    assert main(command(folder, *asked)) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    for heading in ("P50 s", "95 %", "REGRET", "GAP", "LARGEST SHARE"):
        assert heading in text


def test_a_table_is_no_wider_for_very_slow_policies_and_has_no_empty_column() -> None:
    row = {
        "policy": "least_outstanding_per_slot",
        "fleets": 30,
        "bench": "R",
        "arrivals": "conv",
        "load": 0.7,
    }
    row |= dict.fromkeys(TIMES.values(), 12_345.678) | {"ratio_to_peak_ewma_interval": [45.123, 187.654]}
    lines = report_text([row | {"scenario": "base", "goodput": 0.5}]).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[-2].split() == ["POLICY", "GOOD"]


def test_the_help_names_what_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["router", "eval", "--help"])
    words = set(re.findall(r"[\w.,]+", capsys.readouterr().out))
    assert words >= {*POLICIES, *TRACES, *MEASURED_SCENARIOS, *STRESS_SCENARIOS, "0.5,0.7,0.85", "conv,code"}


def test_a_damaged_folder_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folder(tmp_path)
    path = tmp_path / "bfcl_prompts.csv.gz"
    path.write_bytes(path.read_bytes()[:-30])
    assert main(command(tmp_path)) == 1
    assert "bfcl_prompts.csv.gz is not whole" in capsys.readouterr().err.splitlines()[-1]
