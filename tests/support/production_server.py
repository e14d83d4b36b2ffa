"""A real nats-server with the `nats.conf` that ships: free ports, a store and passwords of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from pathlib import Path

from outrider.broker.config import NatsSettings, nats_settings
from outrider.broker.server import PrivateServer, find_server

NATS_CONF = Path(__file__).resolve().parents[2] / "nats.conf"
USERS = ("orchestrator", "router", "ui", "agents", "agent-1", "client", "ops", "sys")

OTHERS = ("admin", "submitter")
"""Users that stand in comments or documents."""


def password_variable(user: str) -> str:
    """The variable in which nats.conf looks for the password of a user."""
    return f"OUTRIDER_{user.upper().replace('-', '_')}_PASSWORD"


def new_passwords() -> dict[str, str]:
    return {password_variable(user): "p" + secrets.token_hex(12) for user in (*USERS, *OTHERS)}


class ProductionServer(PrivateServer):
    """nats-server as an operator starts it, but on free loopback ports."""

    def __init__(self, config: Path = NATS_CONF) -> None:
        super().__init__(config=config)
        self.environment = new_passwords()

    def _command(self) -> list[str]:
        return [
            str(find_server()),
            *("-c", str(self._config)),
            *("-a", "127.0.0.1", "-p", str(self._port), "-m", "-1"),
            *("--ports_file_dir", str(self._own_folder())),
        ]

    def _launch(self) -> subprocess.Popen[bytes]:
        own = self.environment | {"OUTRIDER_NATS_STORE": str(self._own_folder() / "store")}
        with self.log_file.open("ab") as output:
            return subprocess.Popen(
                self._command(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ | own,
                process_group=0,
            )

    @property
    def monitoring(self) -> str:
        """Where /varz and /healthz are."""
        ports = self._own_folder() / f"nats-server_{self.pid}.ports"
        return str(json.loads(ports.read_text())["monitoring"][0])

    def credentials(self, user: str) -> dict[str, str]:
        """What a process of this user finds in its environment."""
        return {
            "NATS_URL": self.url,
            "NATS_USER": user,
            "NATS_PASSWORD": self.environment[password_variable(user)],
        }

    def settings(self, user: str) -> NatsSettings:
        return nats_settings(self.credentials(user))
