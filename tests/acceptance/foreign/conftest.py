"""A Python that has nats-py and msgpack and nothing else, and a fleet of real processes to use it on."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import tempfile
import uuid
import venv
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from outrider.broker.connection import Connection
from outrider.broker.server import PrivateServer
from outrider.broker.subjects import Subjects
from tests.support.processes import Process

HERE = Path(__file__).parent
ONLY = ("nats-py", "msgpack")


def _copy_installed(name: str, site_packages: Path) -> None:
    """The installed files of one package, which came from the lock file with their hashes."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(str(distribution.locate_file(file))).resolve())


@pytest.fixture(scope="module")
def foreign_python() -> Iterator[Path]:
    """The interpreter of a new environment that holds nothing but nats-py and msgpack."""
    with tempfile.TemporaryDirectory(prefix="outrider-foreign-") as folder:
        venv.create(folder, symlinks=True)
        python = Path(folder) / "bin" / "python"
        answer = subprocess.run(
            [python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        )
        for name in ONLY:
            _copy_installed(name, Path(answer.stdout.strip()))
        yield python


class Foreign:
    """A running foreign program; what it prints goes to a file."""

    def __init__(self, python: Path, program: str, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="outrider-foreign-run-")
        self.out_file, self.err_file = Path(self._folder.name) / "out", Path(self._folder.name) / "err"
        with self.out_file.open("wb") as out, self.err_file.open("wb") as err:
            self.child = subprocess.Popen(
                [python, "-I", HERE / program, *arguments],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                cwd=self._folder.name,
            )

    @property
    def out(self) -> str:
        return self.out_file.read_text()

    @property
    def err(self) -> str:
        return self.err_file.read_text()

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(10)
        self._folder.cleanup()


@dataclass(frozen=True, slots=True)
class Fleet:
    """A nats-server with a running orchestrator, and a connection of the test's own."""

    url: str
    subjects: Subjects
    connection: Connection

    @property
    def name(self) -> str:
        return self.subjects.fleet


@pytest.fixture
async def fleet(server: PrivateServer, connection: Connection) -> AsyncIterator[Fleet]:
    name = f"f{uuid.uuid4().hex[:8]}"
    env = {"NATS_URL": server.url, "OUTRIDER_FLEET": name}
    async with Process("orchestrator", env=env):
        yield Fleet(server.url, Subjects(name), connection)
