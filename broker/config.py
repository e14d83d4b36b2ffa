"""Settings that every part reads: where NATS is, which fleet, and the `.env` file.

The only file of `broker/` that reads the environment. What comes first counts: argument, environment,
`.env`, NATS context, default.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from outrider.broker.errors import OutriderError
from outrider.broker.subjects import NAME

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_FLEET = "outrider"
LARGEST_OBJECT_BYTES = 64 * 1024 * 1024
"""Largest payload or result in the object store, unless OUTRIDER_LARGEST_OBJECT_BYTES says otherwise."""
PRIVATE = "private server"
"""The source of an address that a running `outrider up` or `outrider demo` left in the state folder."""

_FROM_ENVIRONMENT = {
    "url": "NATS_URL",
    "creds": "NATS_CREDS",
    "user": "NATS_USER",
    "password": "NATS_PASSWORD",
    "token": "NATS_TOKEN",
    "nkey": "NATS_NKEY",
    "ca": "NATS_CA",
    "cert": "NATS_CERT",
    "key": "NATS_KEY",
    "inbox_prefix": "NATS_INBOX_PREFIX",
}


class BadSettings(OutriderError):
    """A setting cannot be used."""

    code = "bad_settings"


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """How to reach NATS. `creds` and `nkey` are file paths; `url` may list servers by comma."""

    url: str = DEFAULT_URL
    creds: str | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    nkey: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    inbox_prefix: str | None = None
    source: str = "default"
    """Where the address came from, for error messages."""

    def __repr__(self) -> str:
        return f"NatsSettings(url={self.url!r}, source={self.source!r})"

    @property
    def servers(self) -> list[str]:
        return [u if "://" in u else f"nats://{u}" for u in (p.strip() for p in self.url.split(",")) if u]

    @property
    def is_default(self) -> bool:
        """Nobody said where NATS is, so a private server may be started."""
        return self.source in ("default", PRIVATE)


def read_dotenv(path: Path) -> dict[str, str]:
    """`NAME=value` lines of a `.env` file; a missing file is empty. Raises BadSettings."""
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise BadSettings(f"{path} line {number} is not NAME=value", hint="put a # before comments")
        found[name.strip()] = value.strip().strip("'\"")
    return found


def environment(dotenv: Path | None = None) -> dict[str, str]:
    """The process environment over the `.env` file of the working folder; empty values count as unset."""
    merged = read_dotenv(dotenv or Path(".env")) | dict(os.environ)
    return {name: value for name, value in merged.items() if value}


def _context_file(env: Mapping[str, str]) -> Path | None:
    base = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config") / "nats"
    name = env.get("NATS_CONTEXT")
    selected = base / "context.txt"
    if not name and selected.is_file():
        name = selected.read_text(encoding="utf-8").strip()
    return base / "context" / f"{name}.json" if name else None


def _from_context(path: Path) -> NatsSettings:
    try:
        context: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSettings(f"NATS context {path} cannot be read: {error}", hint="nats context ls") from None
    known = {
        name: context[name]
        for name in _FROM_ENVIRONMENT
        if isinstance(context.get(name), str) and context[name]
    }
    return NatsSettings(**known, source=f"NATS context {path.stem}")


def nats_settings(env: Mapping[str, str], url: str | None = None) -> NatsSettings:
    """Where NATS is and with which credentials. Raises BadSettings for a broken NATS context."""
    return _with_own_inbox(_located(env, url))


def _located(env: Mapping[str, str], url: str | None) -> NatsSettings:
    given = {name: env[variable] for name, variable in _FROM_ENVIRONMENT.items() if variable in env}
    if url:
        return NatsSettings(**(given | {"url": url}), source="argument")
    if "url" in given:
        return NatsSettings(**given, source="NATS_URL")
    context = _context_file(env)
    base = _from_context(context) if context else _private_server(env)
    return replace(base, **given)


def _private_server(env: Mapping[str, str]) -> NatsSettings:
    """The private server that runs for this state folder, else the default address."""
    try:
        note = json.loads(private_server_note(env).read_text(encoding="utf-8"))
        url, pid = str(note["url"]), int(note["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, LookupError, TypeError):
        return NatsSettings()
    return NatsSettings(url=url, source=PRIVATE)


def _with_own_inbox(settings: NatsSettings) -> NatsSettings:
    """Answers come to `_INBOX.<user>.`, unless told otherwise: an inbox that only this user may read."""
    # A URL without a password holds a token, which must never show in a subject.
    in_url = re.match(r"\w+://([^:@/]+):[^@/]*@", settings.servers[0]) if settings.servers else None
    user = settings.user or (in_url and in_url[1])
    if settings.inbox_prefix or not user or not NAME.fullmatch(user):
        return settings
    return replace(settings, inbox_prefix=f"_INBOX.{user}")


def largest_object(env: Mapping[str, str]) -> int:
    """Bytes of the largest payload or result that this part sends or takes. Raises BadSettings."""
    text = env.get("OUTRIDER_LARGEST_OBJECT_BYTES", str(LARGEST_OBJECT_BYTES))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise BadSettings(f"OUTRIDER_LARGEST_OBJECT_BYTES={text!r} is not a whole number above 0")
    return int(text)


def fleet_name(env: Mapping[str, str], fleet: str | None = None) -> str:
    return fleet or env.get("OUTRIDER_FLEET", DEFAULT_FLEET)


def private_server_note(env: Mapping[str, str]) -> Path:
    """The file in which a running private server leaves its address, so that other programs find it."""
    return state_folder(env) / "nats.json"


def state_folder(env: Mapping[str, str]) -> Path:
    """Where this machine keeps spools, keys, models and the private server's store."""
    return Path(env.get("OUTRIDER_STATE", ".outrider")).expanduser()
