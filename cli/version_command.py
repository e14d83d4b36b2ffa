"""`outrider version`: what is installed here."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from outrider.cli.exit_codes import OK
from outrider.cli.output import data, document
from outrider.cli.parser import Commands, add_command

SHOWN = ("outrider", "nats-py", "msgpack")


def add_to(commands: Commands) -> None:
    add_command(commands, "version", "show the versions", "outrider version --json").set_defaults(run=run)


def installed(package: str) -> str | None:
    """The installed version of a package, None when it is not here."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run(options: argparse.Namespace) -> int:
    versions = {name.replace("-", "_"): installed(name) for name in SHOWN}
    versions["python"] = platform.python_version()
    if hasattr(options, "json"):
        document(versions)
    else:
        data(f"outrider {versions['outrider']} (Python {versions['python']}, nats-py {versions['nats_py']})")
    return OK
