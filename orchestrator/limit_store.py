"""Where limits are kept, for all orchestrators and across restarts: a stream with the last word on each.

Also answers `<fleet>.limits`. What a limit does is the core's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from outrider.broker.clock import Clock
from outrider.broker.codec import decode, encode
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError, Refused, TimedOut
from outrider.broker.follower import Follower, Stored
from outrider.broker.limits import Limit, LimitList, LimitsRequest, check_limit_name
from outrider.broker.pipeline import Appender
from outrider.broker.service import Endpoints
from outrider.broker.subjects import Subjects
from outrider.orchestrator import events
from outrider.orchestrator.core import Core

log = logging.getLogger(__name__)

MOST_LIMITS = 1000
HEARD_WITHIN_S = 5.0
LOOK_EVERY_S = 0.01


class LimitStore:
    """Follows the limits of the fleet, and changes them on request."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        core: Core,
        appender: Appender,
        clock: Clock,
        post: Callable[[events.Event], None],
    ) -> None:
        self._subjects = subjects
        self._core = core
        self._appender = appender
        self._clock = clock
        self._post = post
        self._follower = Follower(connection, subjects.limits_stream, [subjects.all_limits], self._stored)
        self.caught_up = self._follower.caught_up
        """Set once all limits that were set before the start are in the inbox."""

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._follower.run()

    async def _stored(self, stored: Stored) -> None:
        try:
            limit = decode(Limit, stored.data).check()
            if self._subjects.limit(limit.kind, limit.key) != stored.subject:
                raise Refused("the body speaks of another limit than its subject")
        except OutriderError as error:
            log.warning("limit on %s is passed over: %s", stored.subject, error.message)
        else:
            self._post(events.LimitSet(limit, stored.seq))

    async def add_to(self, endpoints: Endpoints) -> None:
        await endpoints.add("limits", self._subjects.limits, self.limits, queue="orchestrator")

    async def limits(self, _: str, data: bytes) -> LimitList:
        """What is in force, after the change that was asked for.

        Raises DecodeError, InvalidName, InvalidLimit, Refused, or OutcomeUnknown when NATS is silent.
        """
        request = decode(LimitsRequest, data or b"{}")
        if request.set is not None:
            limit = request.set.check()
            if limit.is_nothing:
                raise Refused("this limits nothing", hint="give concurrency, rate or tokens_per_minute")
            if len(self._core.memory.limits.limits) >= MOST_LIMITS:
                raise Refused(f"there are {MOST_LIMITS} limits already", hint="use a pattern such as '*'")
            await self._store(limit)
        if request.remove is not None:
            check_limit_name(request.remove.kind, request.remove.key)
            await self._store(Limit(request.remove.kind, request.remove.key))
        return LimitList(self._core.memory.limits.views(self._clock.now()))

    async def _store(self, limit: Limit) -> None:
        """Store it, and wait until this orchestrator goes by it."""
        body = encode(replace(limit, set_at=self._clock.wall()))
        seq = await self._appender.append(self._subjects.limit(limit.kind, limit.key), body)
        give_up_at = self._clock.now() + HEARD_WITHIN_S
        while self._core.memory.limits.seq < seq:
            if self._clock.now() > give_up_at:
                raise TimedOut("the limit is stored, and not read back yet", hint="ask again")
            await asyncio.sleep(LOOK_EVERY_S)
