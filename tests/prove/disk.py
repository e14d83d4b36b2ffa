"""A disk that can lose power: a file with a filesystem in it, mounted through a loop device.

What a program wrote and did not sync stays in the mounted filesystem's cache. A copy of the file at one
moment is what the platter held then. This is a machine that loses power and whose disk flushes honestly;
a disk that lies about flushes is not modelled. Needs root and loop devices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SIZE = "512M"
KEEP_CACHED_S = 300
"""The filesystem must not commit by itself while a proof runs."""


class NoDisk(Exception):
    """This machine does not let us mount; the message says why."""


class Disk:
    """One image mounted at `folder`."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image
        self._is_mounted = False

    def make(self) -> None:
        """Make the filesystem and mount it. Raises NoDisk where that is not permitted."""
        if os.geteuid() != 0:
            raise NoDisk("only root may mount a loop device")
        for program in ("mkfs.ext4", "mount", "umount"):
            if shutil.which(program) is None:
                raise NoDisk(f"{program} is not installed")
        self.folder.mkdir(parents=True)
        _run("truncate", "-s", SIZE, str(self._image))
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", f"loop,commit={KEEP_CACHED_S}", str(self._image), str(self.folder))
        self._is_mounted = True

    def lose_power(self) -> None:
        """Keep what had reached the disk and forget the rest. Nobody may have a file open there."""
        held = self._image.with_suffix(".held")
        _run("cp", "--sparse=always", str(self._image), str(held))
        self.unmount()
        held.replace(self._image)
        self._mount()

    def unmount(self) -> None:
        if self._is_mounted:
            _run("umount", str(self.folder))
            self._is_mounted = False


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDisk(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
