"""The agent SDK: declare an agent, register handlers by kind, run it.

Knows no subject and no message; a session does the talking.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TypeVar

from outrider.agents.attempt import Handler
from outrider.agents.config import labels_from, spool_folder
from outrider.agents.session import Profile, Session
from outrider.agents.spool import Spool
from outrider.broker.config import (
    BadSettings,
    NatsSettings,
    environment,
    fleet_name,
    largest_object,
    nats_settings,
    state_folder,
)
from outrider.broker.connection import Connection
from outrider.broker.errors import NatsUnavailable, NobodyAnswers, OutriderError, Refused, WrongCredentials
from outrider.broker.messages import check_label
from outrider.broker.service import run_until_signal
from outrider.broker.subjects import Subjects, check_name

AnyHandler = TypeVar("AnyHandler", bound=Handler)
Lifespan = Callable[[], AbstractAsyncContextManager[object]]

MOST_SLOTS = 10_000


class Agent:
    """A process that executes attempts of the kinds it has handlers for, `slots` at once.

    `lifespan` makes an async context manager that surrounds the agent's whole stay: for clients, models.
    `state` is the folder for what must survive a crash; OUTRIDER_STATE unless given.
    """

    def __init__(
        self,
        name: str,
        slots: int = 4,
        labels: Iterable[str] = (),
        *,
        lifespan: Lifespan | None = None,
        state: Path | None = None,
    ) -> None:
        """Raises InvalidName, InvalidTask or BadSettings for what cannot be used."""
        self.name = check_name(name, "agent name")
        if not 1 <= slots <= MOST_SLOTS:
            raise BadSettings(f"slots {slots!r} is not a whole number from 1 to {MOST_SLOTS}")
        self.slots = slots
        self.labels = tuple(check_label(label) for label in labels)
        self._lifespan = lifespan
        self._state = state
        self._handlers: dict[str, Handler] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._handlers)

    def handles(self, kind: str) -> Callable[[AnyHandler], AnyHandler]:
        """Register the decorated function for a kind: async functions share the loop, others get threads."""
        check_name(kind, "kind")

        def register(handler: AnyHandler) -> AnyHandler:
            if kind in self._handlers:
                raise BadSettings(f"agent {self.name} has two handlers for kind {kind}")
            self._handlers[kind] = handler
            return handler

        return register

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; settings come from the environment. Ends the program on an error."""
        try:
            asyncio.run(run_until_signal(self._run))
        except OutriderError as error:
            hint = f" ({error.hint})" if error.hint else ""
            sys.stderr.write(f"outrider: {error.message}{hint}\n")
            raise SystemExit(exit_code(error)) from None
        except asyncio.CancelledError:
            raise SystemExit(130) from None

    async def _run(self, stop: asyncio.Event) -> None:
        env = environment()
        self.labels += tuple(check_label(label) for label in labels_from(env))
        await self.serve(nats_settings(env), fleet_name(env), stop, _announce)

    async def serve(
        self, settings: NatsSettings, fleet: str, stop: asyncio.Event, on_ready: Callable[[str], None]
    ) -> None:
        """Serve until `stop` is set or a drain request came, finish what runs, and leave.

        `on_ready` is told once the agent has joined. Cancelling interrupts what runs.
        Raises NatsUnavailable, WrongCredentials, or Refused when the name is in use.
        """
        if not self._handlers:
            raise BadSettings(f"agent {self.name} has no handler", hint='add one with @agent.handles("kind")')
        subjects = Subjects(fleet)
        largest = largest_object(environment())
        profile = Profile(self.name, self.slots, self.labels, dict(self._handlers), largest)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(
                await Connection.open(settings, f"agent {self.name}")
            )
            state = self._state or state_folder(environment())
            spool = Spool.open(spool_folder(state, fleet, self.name))
            stack.callback(spool.close)
            if self._lifespan is not None:
                await stack.enter_async_context(self._lifespan())
            await Session(profile, subjects, connection, spool).run(stop, on_ready)


def _announce(what: str) -> None:
    sys.stderr.write(f"outrider: {what} ready\n")
    sys.stderr.flush()


def exit_code(error: OutriderError) -> int:
    """The documented exit code of an agent that ends with this error."""
    if isinstance(error, (NatsUnavailable, NobodyAnswers, WrongCredentials)):
        return 69
    return 4 if isinstance(error, Refused) else 1
