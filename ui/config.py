"""Settings of the bridge: where it listens and the token that opens it to other machines.

The only file of `ui/` that reads the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from outrider.broker.config import BadSettings, environment
from outrider.broker.errors import Refused

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class UiSettings:
    """Where to listen. Port 0 means any free one. The token is never shown."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token: str | None = None

    def __repr__(self) -> str:
        return f"UiSettings(host={self.host!r}, port={self.port})"

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

    def check(self) -> UiSettings:
        """The settings themselves when they are safe. Raises Refused or BadSettings."""
        if not self.is_loopback and not self.token:
            raise Refused(
                f"the pages would be open to everybody who can reach {self.host}",
                hint="set OUTRIDER_UI_TOKEN to a long random text, or listen on 127.0.0.1",
            )
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise BadSettings(f"OUTRIDER_UI_TOKEN is shorter than {SHORTEST_TOKEN} signs")
        return self


def ui_settings(
    host: str | None = None, port: int | None = None, env: Mapping[str, str] | None = None
) -> UiSettings:
    """From the arguments, else from OUTRIDER_UI_HOST, OUTRIDER_UI_PORT and OUTRIDER_UI_TOKEN.

    Raises Refused when the address would be open without a token, and BadSettings.
    """
    env = environment() if env is None else env
    return UiSettings(
        host=host or env.get("OUTRIDER_UI_HOST", DEFAULT_HOST),
        port=_port(env.get("OUTRIDER_UI_PORT", str(DEFAULT_PORT))) if port is None else port,
        token=env.get("OUTRIDER_UI_TOKEN"),
    ).check()


def _port(text: str) -> int:
    if text.isdigit() and int(text) < 65536:
        return int(text)
    raise BadSettings(f"OUTRIDER_UI_PORT {text!r} is not a port number")
