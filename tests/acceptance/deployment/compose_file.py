"""Reads docker-compose.yml as Compose would, far enough to run its services as local processes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<mark>[?-])(?P<text>[^}]*))?\}")


class Unset(Exception):
    """A variable that the file demands has no value."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service after substitution."""

    name: str
    command: list[str]
    environment: dict[str, str]
    given: dict[str, Any]

    @property
    def health(self) -> list[str]:
        """The health check as an argument list."""
        kind, *rest = self.given["healthcheck"]["test"]
        return ["sh", "-c", *rest] if kind == "CMD-SHELL" else list(rest)


def substitute(text: str, env: dict[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?complaint}`. Raises Unset."""

    def value(found: re.Match[str]) -> str:
        given = env.get(found["name"], "")
        if not given and found["mark"] == "?":
            raise Unset(f"{found['name']} {found['text']}")
        return given or (found["text"] if found["mark"] == "-" else "") or ""

    return VARIABLE.sub(value, text)


def read(env: dict[str, str]) -> dict[str, Service]:
    """Every service of the file, with variables from `env`. Raises Unset."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = {}
    for name, given in parsed["services"].items():
        own = {key: substitute(str(value), env) for key, value in given.get("environment", {}).items()}
        command = [substitute(part, env) for part in given["command"]]
        services[name] = Service(name, command, own, given)
    return services
