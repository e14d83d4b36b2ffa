"""The settings of one command: global options over the environment. The only file of `cli/` that reads it."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from outrider.broker.config import (
    NatsSettings,
    environment,
    fleet_name,
    nats_settings,
    private_server_note,
    state_folder,
)
from outrider.broker.subjects import check_name
from outrider.cli.exit_codes import UsageError

GLOBAL = {"url": "NATS_URL", "fleet": "OUTRIDER_FLEET", "state": "OUTRIDER_STATE"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a command runs: the fleet, its NATS, the state folder, and the environment for children."""

    env: dict[str, str]
    url: str | None
    fleet: str
    state: Path

    def settings(self) -> NatsSettings:
        """Where NATS is. Raises BadSettings for a broken NATS context."""
        return nats_settings(self.env, self.url)

    @property
    def note(self) -> Path:
        """Where a private server of this state folder is written down."""
        return private_server_note(self.env)

    def for_children(self, settings: NatsSettings, state: Path | None = None) -> dict[str, str]:
        """The environment of a child process that uses this NATS."""
        own = {"OUTRIDER_FLEET": self.fleet, "OUTRIDER_STATE": str((state or self.state).absolute())}
        # A context or the argument may have named the server; credentials that stand in a context stay there.
        named = {} if settings.source.startswith("NATS context") else {"NATS_URL": settings.url}
        return dict(os.environ) | own | named


def surroundings(options: argparse.Namespace) -> Surroundings:
    """What the global options and the environment say. Raises BadSettings, InvalidName or UsageError.

    The state folder is exported, because parts that run in this process look it up themselves.
    """
    given = {name: getattr(options, name, None) for name in GLOBAL}
    for name, value in given.items():
        if value == "":
            raise UsageError(f"--{name} is empty", hint=f"leave it out to use {GLOBAL[name]}")
    if given["state"]:
        os.environ["OUTRIDER_STATE"] = str(Path(given["state"]).expanduser().absolute())
    env = environment()
    fleet = check_name(fleet_name(env, given["fleet"]), "fleet")
    return Surroundings(env, given["url"], fleet, state_folder(env))
