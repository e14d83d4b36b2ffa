"""An agent as a process of its own: signals, crashes, blocked loops, a server that goes away."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.broker.errors import NobodyAnswers
from outrider.broker.messages import Assignment, Heartbeat, Ping, Settled, SpooledEpoch, Verdict
from outrider.broker.server import PrivateServer
from outrider.broker.states import ErrorClass
from outrider.broker.subjects import Subjects
from tests.integration.agents import child_agent
from tests.integration.agents.counterpart import Counterpart
from tests.support.waiting import eventually


class Child:
    """The agent program; restarted on the same state folder."""

    def __init__(self, part: Counterpart, server: PrivateServer, folder: Path) -> None:
        self.part, self.folder = part, folder
        self.env = {
            "NATS_URL": server.url,
            "OUTRIDER_FLEET": part.subjects.fleet,
            "OUTRIDER_STATE": str(folder / "state"),
            "OUTRIDER_LABELS": "gpu, eu",
            "PATH": "/usr/bin:/bin",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.err = folder / "err"

    async def start(self) -> None:
        """Start it and wait until it has joined."""
        joined = len(self.part.joins)
        ready = self.err.read_text().count(" ready") if self.err.exists() else 0
        self._launch()

        async def is_ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.err.read_text()
            return len(self.part.joins) > joined and self.err.read_text().count(" ready") > ready

        await eventually(is_ready, 20, "the agent program is ready")

    def _launch(self) -> None:
        with self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(child_agent.__file__))],
                env=self.env,
                cwd=self.folder,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, 20)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    @property
    def runs(self) -> int:
        file = self.folder / "runs"
        return file.read_text().count("run") if file.exists() else 0

    @property
    def journal_bytes(self) -> int:
        found = list((self.folder / "state" / "spool").rglob("outcomes.journal"))
        return found[0].stat().st_size if found else 0

    async def has_started(self, runs: int = 1) -> None:
        await eventually(_truth(lambda: self.runs >= runs), 10, "the handler started")

    def let_go(self) -> None:
        (self.folder / "go").touch()


def _truth(check: Any) -> Any:
    async def asynchronous() -> bool:
        return bool(check())

    return asynchronous


@pytest.fixture
def child(part: Counterpart, server: PrivateServer, tmp_path: Path) -> Iterator[Child]:
    made = Child(part, server, tmp_path)
    yield made
    made.kill()


async def test_sigterm_finishes_what_runs_takes_nothing_new_and_exits_0(
    part: Counterpart, child: Child
) -> None:
    await child.start()
    assert part.joins[0].labels == ("given", "gpu", "eu")
    await part.give("a1", "wait", str(child.folder))
    await child.has_started()
    child.signal(signal.SIGTERM)
    await part.beat_where(lambda b: b.state == "draining", "a draining heartbeat")
    epoch = await part.append_assigned("t2", "a1", "wait")
    assert (await part.assign("a1", Assignment("t2", "wait", 1, epoch, epoch))).reason == "draining"
    child.let_go()
    assert await part.result() == "done"
    assert await child.ended() == 0


async def test_a_second_signal_interrupts(part: Counterpart, child: Child) -> None:
    await child.start()
    await part.give("a1", "wait", str(child.folder))
    await child.has_started()
    child.signal(signal.SIGTERM)
    await part.beat_where(lambda b: b.state == "draining", "a draining heartbeat")
    child.signal(signal.SIGTERM)
    assert await child.ended() == 130
    assert (await part.failure()).error.error_class is ErrorClass.INTERRUPTED


async def test_a_handler_that_blocks_the_loop_silences_neither_heartbeats_nor_ping(
    part: Counterpart, child: Child
) -> None:
    await child.start()
    given = await part.give("a1", "block", str(child.folder))
    await child.has_started()
    before = len(part.beats)
    await eventually(_truth(lambda: len(part.beats) >= before + 3), 5, "three more heartbeats")
    assert part.beats[-1].running == (given.epoch,)
    beat = await part.ask("a1", "ping", Ping(), Heartbeat)
    assert (beat.instance, beat.running) == (part.joins[0].instance, (given.epoch,))
    child.let_go()
    assert await part.result() == "done"


async def killed_with_an_outcome(part: Counterpart, child: Child, server: PrivateServer) -> Assignment:
    """The agent finishes while the server is away, and dies before it is back; returns what it was given."""
    await child.start()
    given = await part.give("a1", "wait", str(child.folder))
    await child.has_started()
    server.kill()
    child.let_go()
    await eventually(_truth(lambda: child.journal_bytes), 10, "the outcome is on disk")
    child.kill()
    await server.start()
    return given


async def test_an_outcome_survives_kill_9_between_finish_and_record(
    part: Counterpart, child: Child, server: PrivateServer
) -> None:
    given = await killed_with_an_outcome(part, child, server)
    await child.start()
    assert part.joins[-1].spooled == (SpooledEpoch("t1", given.epoch),)
    assert await part.result() == "done"
    assert child.runs == 1
    assert len(await part.outcomes()) == 1
    await part.beat_where(lambda b: not b.spooled, "nothing is kept")


async def test_a_spooled_outcome_that_came_too_late_is_given_up(
    part: Counterpart, child: Child, server: PrivateServer
) -> None:
    given = await killed_with_an_outcome(part, child, server)
    await eventually(_truth(lambda: part.connection.is_connected), 10, "the test is connected again")
    await part.close_task("t1")
    part.on_settle = lambda s: Settled(Verdict.SUPERSEDED, s.epoch, s.epoch)
    await child.start()
    await eventually(_truth(lambda: part.settles), 10, "the agent asks")
    assert part.settles[0].epoch == given.epoch
    await part.beat_where(lambda b: not b.spooled, "nothing is kept")
    assert await part.outcomes() == []


async def test_a_server_that_crashes_and_returns_costs_neither_work_nor_outcome(
    part: Counterpart, child: Child, server: PrivateServer
) -> None:
    await child.start()
    await part.give("a1", "wait", str(child.folder))
    await child.has_started()
    joins = len(part.joins)
    server.kill()
    child.let_go()
    await eventually(_truth(lambda: child.journal_bytes), 10, "the outcome is on disk")
    await server.start()
    assert await part.result() == "done"
    await eventually(_truth(lambda: len(part.joins) > joins), 10, "the agent joined again")
    assert (child.runs, len(await part.outcomes())) == (1, 1)
    await part.beat_where(lambda b: not b.spooled, "nothing is kept")


async def test_an_agent_that_leaves_while_nats_is_away_keeps_its_outcome_for_the_next_start(
    part: Counterpart, child: Child, server: PrivateServer
) -> None:
    await child.start()
    await part.give("a1", "talk", str(child.folder))
    await child.has_started()
    server.kill()
    child.let_go()
    await eventually(_truth(lambda: child.journal_bytes), 10, "the outcome is on disk")
    child.signal(signal.SIGTERM)
    assert await child.ended() == 0
    assert "starts here again: 1" in child.err.read_text()
    await server.start()
    await child.start()
    assert await part.result() == "done"
    assert child.runs == 1


async def test_a_second_agent_of_the_same_name_on_this_machine_is_refused(
    part: Counterpart, child: Child
) -> None:
    await child.start()
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(Path(child_agent.__file__))],
        env=child.env,
        cwd=child.folder,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 4
    assert b"an agent named a1 already runs on this machine" in second.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [("nats://127.0.0.1:9", "cannot be reached"), ("nats://u:p@nowhere.invalid", "cannot be reached")],
)
async def test_no_nats_is_one_clear_line_and_exit_69(tmp_path: Path, url: str, says: str) -> None:
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(Path(child_agent.__file__))],
        env={"NATS_URL": url, "OUTRIDER_STATE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 69
    assert says in ended.stderr.decode()
    assert len(ended.stderr.decode().strip().splitlines()) == 1


async def test_wrong_credentials_are_one_clear_line_and_exit_69(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text('authorization { user: "agent", password: "right" }')
    async with PrivateServer(config=config) as server:
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(Path(child_agent.__file__))],
            env={
                "NATS_URL": server.url,
                "NATS_USER": "agent",
                "NATS_PASSWORD": "wrong",
                "OUTRIDER_STATE": str(tmp_path),
                "PATH": "/usr/bin:/bin",
            },
            cwd=tmp_path,
            capture_output=True,
            timeout=20,
            check=False,
        )
    assert ended.returncode == 69
    assert "refused the credentials" in ended.stderr.decode()
    assert "wrong" not in ended.stderr.decode()
    assert len(ended.stderr.decode().strip().splitlines()) == 1


async def test_after_kill_9_nobody_answers_for_the_agent(
    part: Counterpart, child: Child, subjects: Subjects
) -> None:
    await child.start()
    child.kill()

    async def is_gone() -> bool:
        try:
            await part.connection.request(subjects.agent("a1", "ping"), b"{}", 0.2)
        except NobodyAnswers:
            return True
        return False

    await eventually(is_gone, 20, "no responder")
