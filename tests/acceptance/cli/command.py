"""Runs one `outrider ...` command as a person would, and keeps what it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one document of `--json`."""
        return json.loads(self.out)


def outrider(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Said:
    """Run the command to its end."""
    command = [sys.executable, "-m", "outrider.cli", *arguments]
    done = subprocess.run(
        command, input=stdin, env={**os.environ, **(env or {})}, capture_output=True, timeout=60, check=False
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())
