"""Coverage: the share of attempts within their predictions, over the newest of them."""

from __future__ import annotations

from outrider.broker.outcomes import Succeeded
from outrider.broker.routing import RouteReason
from outrider.ledger.calibration import Calibration, CalibrationOfLedger, Coverage
from outrider.ledger.entries import Assigned
from outrider.ledger.fold import Record


def assigned(task_id: str = "t", kind: str = "echo", reason: RouteReason = RouteReason.MODEL) -> Assigned:
    return Assigned(task_id, 1, "a", "i", 0, kind, 5, reason, p50_s=1.0, p90_s=2.0)


def test_nothing_ended_is_no_share() -> None:
    assert Calibration().coverage() == Coverage(0, None, None)


def test_the_shares_of_all_and_of_each_kind() -> None:
    calibration = Calibration()
    for kind, service_s in (("echo", 0.5), ("echo", 1.5), ("chat", 1.0), ("chat", 3.0)):
        calibration.ended(assigned(kind=kind), service_s)
    assert calibration.coverage() == Coverage(4, 0.5, 0.75)
    assert calibration.by_kind() == {"chat": Coverage(2, 0.5, 0.5), "echo": Coverage(2, 0.5, 1.0)}


def test_only_the_newest_count() -> None:
    calibration = Calibration(window=3)
    for service_s in (9.0, 9.0, 9.0, 0.5, 1.5, 9.0):
        calibration.ended(assigned(), service_s)
    assert calibration.coverage() == Coverage(3, 1 / 3, 2 / 3)


def test_what_no_router_predicted_does_not_count() -> None:
    calibration = Calibration()
    calibration.ended(assigned(reason=RouteReason.FALLBACK_NO_ROUTER), 0.5)
    calibration.ended(None, 0.5)
    assert calibration.coverage().attempts == 0


def test_an_entry_that_is_not_allowed_changes_nothing() -> None:
    fold = CalibrationOfLedger()
    fold.entry(Record(7, "f.ledger.t.orchestrator.o", assigned()))
    fold.entry(Record(8, "f.ledger.t.agent.b", Succeeded("t", 1, "b", 7, service_s=0.1)))
    assert fold.calibration.coverage().attempts == 0
    fold.entry(Record(9, "f.ledger.t.agent.a", Succeeded("t", 1, "a", 7, service_s=1.5)))
    assert fold.calibration.coverage() == Coverage(1, 0.0, 1.0)
    fold.entry(Record(11, "f.ledger.old.agent.a", Succeeded("old", 1, "a", 3, service_s=1.5)))
    assert fold.calibration.coverage().attempts == 1
