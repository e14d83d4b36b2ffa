"""The short form of the leader kills: those of LATER, LEDGER and TASKS, under load, on three real nodes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.prove.nursery import PROJECT


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_cluster_that_loses_its_leader_loses_no_task() -> None:
    command = [sys.executable, "-m", "tests.prove", "cluster", "--leader-kills", "3", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=230, cwd=PROJECT)
    assert run.returncode == 0, run.stderr + run.stdout
    figures = json.loads(run.stdout)["cluster"]
    assert figures["leader_kills"] == 3
    assert figures["tasks"] >= 450 + figures["delayed"] + figures["unique_names"]
    assert (figures["lost"], figures["recorded_twice"], figures["not_terminal"]) == (0, 0, 0)
    assert (figures["delayed"], figures["delayed_early"]) == (45, 0)
    assert figures["cron_fires"] > 0
    assert figures["cron_fired_twice"] == 0
    assert figures["unique_submits"] == 30
    assert (figures["unique_names"], figures["unique_open_twice"]) == (6, 0)
    assert 0 < figures["worst_write_gap_s"] < 30
