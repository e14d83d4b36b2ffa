"""The journal keeps what the ledger does not have, across crashes, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

from outrider.agents.spool import Finished, Spool
from outrider.broker.codec import dump, load
from outrider.broker.errors import Refused
from outrider.broker.object_ref import ref_of
from tests.support.waiting import eventually


def finished(n: int, data: bytes = b"outcome") -> Finished:
    return Finished(f"t{n}", 1, 100 + n, 100 + n, data)


def crash(spool: Spool) -> None:
    """Let go of the files as a killed process does: nothing more is written."""
    if spool._timer is not None:
        spool._timer.cancel()
    os.close(spool._file)
    os.close(spool._lock)


async def test_what_was_added_and_not_confirmed_is_there_after_a_crash(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    first, second, third = finished(1), finished(2, b"x" * 5000), finished(3)
    spool.add(first)
    spool.add(second)
    spool.done(first)
    spool.add(third)  # carries the mark that the first is done
    crash(spool)
    again = Spool.open(tmp_path / "a1")
    assert [(f.task_id, f.attempt, f.epoch, f.expect, f.data) for f in again.open_outcomes] == [
        ("t2", 1, 102, 102, b"x" * 5000),
        ("t3", 1, 103, 103, b"outcome"),
    ]
    again.close()


@pytest.mark.parametrize("cut", [1, 7, 20])
async def test_a_record_cut_by_a_crash_is_left_out_and_the_rest_kept(tmp_path: Path, cut: int) -> None:
    spool = Spool.open(tmp_path / "a1")
    spool.add(finished(1))
    spool.add(finished(2))
    crash(spool)
    journal = tmp_path / "a1" / "outcomes.journal"
    journal.write_bytes(journal.read_bytes()[:-cut])
    again = Spool.open(tmp_path / "a1")
    assert [f.task_id for f in again.open_outcomes] == ["t1"]
    again.add(finished(3))
    crash(again)
    third = Spool.open(tmp_path / "a1")
    assert [f.task_id for f in third.open_outcomes] == ["t1", "t3"]
    third.close()


async def test_damage_in_the_middle_gives_up_only_what_follows(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    spool.add(finished(1))
    size = (tmp_path / "a1" / "outcomes.journal").stat().st_size
    spool.add(finished(2))
    crash(spool)
    journal = tmp_path / "a1" / "outcomes.journal"
    data = bytearray(journal.read_bytes())
    data[size + 12] ^= 0xFF
    journal.write_bytes(data)
    again = Spool.open(tmp_path / "a1")
    assert [f.task_id for f in again.open_outcomes] == ["t1"]
    again.close()


async def test_a_journal_with_nothing_open_is_emptied(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    for n in range(50):
        item = finished(n)
        spool.add(item)
        spool.done(item)

    async def is_empty() -> bool:
        return (tmp_path / "a1" / "outcomes.journal").stat().st_size == 0

    await eventually(is_empty, 20, "an empty journal")
    spool.close()


async def test_a_busy_journal_is_rewritten_with_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.agents.spool.COMPACT_BYTES", 10_000)
    spool = Spool.open(tmp_path / "a1")
    spool.add(finished(0, b"stays"))
    for n in range(1, 100):
        item = finished(n, b"x" * 1000)
        spool.add(item)
        spool.done(item)

    async def is_small() -> bool:
        return (tmp_path / "a1" / "outcomes.journal").stat().st_size < 1000

    await eventually(is_small, 20, "a small journal")
    crash(spool)
    again = Spool.open(tmp_path / "a1")
    assert [f.data for f in again.open_outcomes] == [b"stays"]
    again.close()


async def test_only_what_the_ledger_does_not_confirm_soon_is_synced_to_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    spool = Spool.open(tmp_path / "a1")
    quick = finished(1)
    spool.add(quick)
    spool.done(quick)
    assert synced == []
    spool.add(finished(2))

    async def is_synced() -> bool:
        return bool(synced)

    await eventually(is_synced, 20, "a sync")
    spool.close()


async def test_one_process_at_a_time_holds_a_journal(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    with pytest.raises(Refused, match="a1 already runs"):
        Spool.open(tmp_path / "a1")
    spool.close()
    Spool.open(tmp_path / "a1").close()


async def test_a_disk_that_refuses_is_reported_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool.open(tmp_path / "a1")
    spool.add(finished(1))

    def full(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    real = os.write
    monkeypatch.setattr(os, "write", full)
    caplog.set_level(logging.ERROR)
    spool.add(finished(2))
    spool.add(finished(3))
    assert len([r for r in caplog.records if "No space left" in r.getMessage()]) == 1
    assert [f.task_id for f in spool.open_outcomes] == ["t1", "t2", "t3"]
    monkeypatch.setattr(os, "write", real)
    spool.add(finished(4))
    crash(spool)
    again = Spool.open(tmp_path / "a1")
    assert [f.task_id for f in again.open_outcomes] == ["t1", "t4"]
    again.close()


def test_a_renumbered_outcome_carries_its_new_token() -> None:
    item = finished(1, dump({"epoch": 101, "result": "x"}))
    item.renumber(200, 205)
    assert (item.epoch, item.expect, load(item.data)) == (200, 205, {"epoch": 200, "result": "x"})


async def test_reading_the_open_outcomes_from_another_thread_is_safe(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    started, stop = threading.Event(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert all(f.epoch >= 100 for f in spool.open_outcomes)
            started.set()

    reading = asyncio.ensure_future(asyncio.to_thread(read))
    await asyncio.to_thread(started.wait, 5)
    for n in range(3000):
        item = finished(n)
        spool.add(item)
        if n % 2:
            spool.done(item)
    stop.set()
    await reading
    spool.close()


def with_large_result(n: int, body: bytes) -> Finished:
    return Finished(f"t{n}", 1, 100 + n, 100 + n, b"entry", ref_of(body), body)


async def test_a_large_result_lies_beside_the_journal_until_it_is_recorded(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "a1")
    kept = with_large_result(1, b"x" * 100_000)
    spool.add(kept)
    assert (tmp_path / "a1" / "outcomes.journal").stat().st_size < 1000
    assert (kept.body, spool.large_bytes) == (b"", 100_000)
    crash(spool)
    again = Spool.open(tmp_path / "a1")
    (recovered,) = again.open_outcomes
    assert recovered.ref == ref_of(b"x" * 100_000)
    assert again.body_of(recovered) == b"x" * 100_000
    assert again.large_bytes == 100_000
    again.done(recovered)
    assert again.large_bytes == 0
    assert not list((tmp_path / "a1").glob("*.result"))
    again.close()


async def test_an_outcome_whose_large_result_was_cut_is_left_out_so_that_the_task_runs_again(
    tmp_path: Path,
) -> None:
    spool = Spool.open(tmp_path / "a1")
    spool.add(with_large_result(1, b"x" * 100_000))
    spool.add(finished(2))
    crash(spool)
    (path,) = (tmp_path / "a1").glob("*.result")
    path.write_bytes(b"x" * 5000)
    again = Spool.open(tmp_path / "a1")
    assert [f.task_id for f in again.open_outcomes] == ["t2"]
    assert not path.exists()
    again.close()
