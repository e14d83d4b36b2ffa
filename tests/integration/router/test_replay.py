"""A replay of a ledger on a real nats-server: finds that the recorded choices were bad, in several pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider import router
from outrider.broker.codec import encode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.facts import TaskFacts
from outrider.broker.outcomes import Succeeded
from outrider.broker.pipeline import Appender
from outrider.broker.routing import Candidate, RouteReason
from outrider.broker.streams import ensure_streams
from outrider.broker.subjects import Subjects
from outrider.ledger.entries import Assigned
from outrider.router.counterfactual import replay as replaying

TASKS = 120


async def write_ledger(connection: Connection, subjects: Subjects) -> None:
    """Three of four tasks went to `slow`, which keeps eight at a time; `fast` ends each at once."""
    appender = Appender(connection)
    await appender.start()
    candidates = tuple(Candidate(name, 0.0, 1.0, 2.0, 1.0) for name in ("fast", "slow"))
    open_on_slow: list[tuple[str, int]] = []

    async def end(task_id: str, agent: str, epoch: int) -> None:
        outcome = Succeeded(task_id, 1, agent, epoch, service_s=1.0)
        await appender.append(subjects.ledger_agent(task_id, agent), encode(outcome))

    for number in range(TASKS):
        task_id, agent = f"t{number}", "slow" if number % 4 else "fast"
        load = len(open_on_slow) if agent == "slow" else 0
        entry = Assigned(
            task_id, 1, agent, "i", 0, "chat", 5, RouteReason.MODEL, "m", candidates=candidates,
            facts=TaskFacts(300, 260), slots=9, in_flight=load,
        )  # fmt: skip
        epoch = await appender.append(subjects.ledger_orchestrator(task_id, "o1"), encode(entry))
        if agent == "fast":
            await end(task_id, agent, epoch)
        else:
            open_on_slow.append((task_id, epoch))
        if len(open_on_slow) > 8:
            await end(open_on_slow[0][0], "slow", open_on_slow.pop(0)[1])
    for task_id, epoch in open_on_slow:
        await end(task_id, "slow", epoch)
    await appender.append(subjects.ledger_orchestrator("t-odd", "o1"), b"\xc1 nonsense")


async def test_a_replay_finds_the_better_agent(
    settings: NatsSettings,
    connection: Connection,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replaying, "PAGE", 50)
    await ensure_streams(connection, subjects)
    await write_ledger(connection, subjects)
    fleet = subjects.fleet
    same = await router.replay(settings, fleet, tmp_path, 3600.0, policy="recorded")
    assert (same["decisions"], same["entries"], same["unreadable"]) == (TASKS, 2 * TASKS + 1, 1)
    assert same["change"]["mean_s"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    found = await router.replay(settings, fleet, tmp_path, 3600.0, policy="least_outstanding")
    assert found["change"]["mean_s"]["high"] < 0.0
    assert found["matched_share"] < 0.5 < found["modelled_share"]
    assert (found["is_whole"], found["method"]) == (True, "direct")
    model = await router.replay(settings, fleet, tmp_path, 3600.0, model="shipped")
    assert model["judged_share"] == pytest.approx(1.0)
    assert model["modelled_share"] > 0.0
    nothing = await router.replay(settings, fleet, tmp_path, 1e-6, policy="recorded")
    assert (nothing["decisions"], nothing["change"]) == (0, None)


async def test_only_the_newest_part_of_a_long_ledger_is_read_and_the_report_says_so(
    settings: NatsSettings,
    connection: Connection,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replaying, "MOST_MESSAGES", 100)
    await ensure_streams(connection, subjects)
    await write_ledger(connection, subjects)
    found = await router.replay(settings, subjects.fleet, tmp_path, 3600.0, policy="random")
    assert (found["entries"], found["is_whole"]) == (100, False)


async def test_a_fleet_without_a_ledger_gets_a_clear_error(settings: NatsSettings, tmp_path: Path) -> None:
    with pytest.raises(OutriderError):
        await router.replay(settings, "nobody", tmp_path, 3600.0, policy="recorded")
