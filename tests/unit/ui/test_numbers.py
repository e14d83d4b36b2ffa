"""Rates, percentiles, metrics and settings: small rules that a wrong sign would break."""

from __future__ import annotations

import pytest

from outrider.broker.config import BadSettings
from outrider.broker.errors import Refused
from outrider.ui.config import ui_settings
from outrider.ui.hub import Hub
from outrider.ui.metrics import render
from outrider.ui.projection import Projection, Queue
from outrider.ui.rates import MOST_SAMPLES, Rates, Sample, percentile
from outrider.ui.tally import MOST_KINDS, Tally
from tests.unit.ui.stories import START, Ledger, joined


def sample(at: float, sojourn_s: float) -> Sample:
    return Sample(at, sojourn_s, 0.1, sojourn_s - 0.1, 1.0)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([], 0.5)) == (50.0, 95.0, None)
    assert percentile([7.0], 0.95) == 7.0


def test_throughput_counts_whole_seconds_and_latency_one_minute() -> None:
    rates = Rates()
    for number in range(20):
        rates.finished(sample(1_000.0 + number / 2, 5.0))
    rates.finished(sample(900.0, 99.0))
    assert rates.average(1_010.0) == 2.0
    assert rates.latency(1_010.0)["p95_s"] == 5.0, "what ended more than a minute ago counts no more"
    assert rates.latency(2_000.0)["p50_s"] is None


def test_samples_are_bounded() -> None:
    rates = Rates()
    for number in range(2 * MOST_SAMPLES):
        rates.finished(sample(1_000.0 + number, 1.0))
    assert len(rates._samples) == MOST_SAMPLES
    assert len(rates._by_second) <= 601


def test_a_flood_of_kinds_ends_in_one_label() -> None:
    tally = Tally()
    for number in range(MOST_KINDS + 50):
        tally.task_finished(f"kind{number}", "succeeded", 1.0)
    assert len(tally.sojourn) == MOST_KINDS + 1
    assert tally.finished["other", "succeeded"] == 50


def test_the_metrics_page_names_what_happened_and_no_task() -> None:
    ledger, projection = Ledger(), Projection()
    projection.member(1, joined("a1", slots=3), START)
    for record in (ledger.assigned("secret-id", "a1"), ledger.succeeded("secret-id", service_s=0.2)):
        projection.entry(record)
    projection.queued((Queue("echo", 5, 4),), 4)
    text = render(Hub(projection, "e"), lag=0, version="1")
    assert 'outrider_tasks_finished_total{kind="echo",state="succeeded"} 1' in text
    assert 'outrider_queue_length{kind="echo"} 4' in text
    assert 'outrider_attempt_service_seconds_bucket{kind="echo",le="0.32"} 1' in text
    assert 'outrider_attempt_service_seconds_bucket{kind="echo",le="0.16"} 0' in text
    assert 'outrider_router_decisions_total{reason="model"} 1' in text
    assert 'outrider_router_coverage{quantile="0.9"} 1' in text
    assert 'outrider_router_coverage{kind="echo",quantile="0.5"} 1' in text
    assert 'outrider_router_coverage_attempts{kind="echo"} 1' in text
    assert "outrider_slots 3" in text
    assert "secret-id" not in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(Refused, match=r"0\.0\.0\.0") as refused:
        ui_settings("0.0.0.0", 8080, {})
    assert "OUTRIDER_UI_TOKEN" in refused.value.hint
    assert ui_settings("0.0.0.0", 8080, {"OUTRIDER_UI_TOKEN": "x" * 20}).port == 8080
    with pytest.raises(BadSettings, match="shorter"):
        ui_settings("0.0.0.0", 8080, {"OUTRIDER_UI_TOKEN": "short"})


def test_settings_come_from_the_environment_and_are_not_shown() -> None:
    env = {"OUTRIDER_UI_PORT": "9090", "OUTRIDER_UI_TOKEN": "a-token-of-twenty-signs"}
    settings = ui_settings(env=env)
    assert (settings.host, settings.port) == ("127.0.0.1", 9090)
    assert "a-token" not in repr(settings)
    with pytest.raises(BadSettings, match="OUTRIDER_UI_PORT"):
        ui_settings(env={"OUTRIDER_UI_PORT": "http"})
