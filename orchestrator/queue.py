"""Pulls waiting tasks as far as there is room, by one durable consumer a kind and priority."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from outrider.broker.connection import ApiError, Connection
from outrider.broker.errors import OutriderError
from outrider.broker.pipeline import Pulled, Puller, hold
from outrider.broker.streams import ensure_task_consumer
from outrider.broker.subjects import LOWEST_PRIORITY, Subjects

log = logging.getLogger(__name__)

HOLD_EVERY_S = 2.5
"""Well under the consumers' ack_wait of 6 s."""


class TaskQueue:
    """The pull loops of all kinds that agents have declared."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        window: Callable[[str, int], int],
        on_pulled: Callable[[Pulled], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._window = window
        self._on_pulled = on_pulled
        self._pullers: dict[tuple[str, int], Puller] = {}
        self._unmade: set[str] = set()

    @property
    def kinds(self) -> set[str]:
        return {kind for kind, _ in self._pullers}

    async def serve(self, kind: str) -> None:
        """Begin to pull a kind, at every priority; a failure is tried again at the next call."""
        for priority in range(LOWEST_PRIORITY + 1):
            if (kind, priority) in self._pullers:
                continue
            try:
                name = await ensure_task_consumer(self._connection, self._subjects, kind, priority)
            except ApiError as error:
                log.error("consumer of kind %s priority %d cannot be made: %s", kind, priority, error)
                return
            except OutriderError as error:
                log.warning("consumer of kind %s priority %d is not made yet: %s", kind, priority, error)
                return
            puller = Puller(
                self._connection, self._subjects.tasks_stream, name, self._on_pulled, is_direct=True
            )
            await puller.start()
            self._pullers[kind, priority] = puller

    async def top_up(self) -> None:
        """Ask for as many messages as each window allows."""
        for (kind, priority), puller in list(self._pullers.items()):
            room = self._window(kind, priority)
            missing = room - puller.credit
            # Asking costs a write: not for one message while plenty are on their way.
            if missing > room // 4 or puller.is_stale:
                await puller.want(room)

    def reconnected(self) -> None:
        for puller in self._pullers.values():
            puller.reconnected()


async def hold_all(connection: Connection, held: list[Pulled]) -> None:
    """Keep messages that wait here from being delivered elsewhere."""
    for pulled in held:
        await hold(connection, pulled)
