"""The router as a service: answers `<fleet>.route`, follows the ledger to learn, and swaps models live.

Knows how messages get in and out; what is answered stands in `routing.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from outrider.broker.background import Background
from outrider.broker.codec import decode
from outrider.broker.config import NatsSettings
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.follower import Follower, Stored
from outrider.broker.routing import RouteAnswer, RouteRequest
from outrider.broker.service import Endpoints
from outrider.broker.subjects import Subjects
from outrider.router.artifact import ModelStore
from outrider.router.beliefs import log_seconds
from outrider.router.config import RouterSettings, router_settings
from outrider.router.flat_forest import ModelRefused
from outrider.router.folding import Finished, learn, read_entry
from outrider.router.model_keeping import ModelKeeping
from outrider.router.predictor import Predictor
from outrider.router.retraining import LiveErrors
from outrider.router.routing import route
from outrider.router.statistics import Statistics

log = logging.getLogger(__name__)

NAME = "outrider-router"
VERSION = "0.1.0"
QUEUE = "router"
GATHER_S = 0.02
"""How late an outcome may be learned; on a small machine folding at once would delay assignments."""
AGAIN_S = 0.2


class RouterService:
    """One replica. All it holds comes from the ledger and the state folder."""

    def __init__(self, store: ModelStore, settings: RouterSettings) -> None:
        self.statistics = Statistics()
        self.live = LiveErrors()
        self._store = store
        self._settings = settings
        self._seen: tuple[int, int] | None = None
        self._promoted = asyncio.Event()
        self._told = ""
        self.predictor = self._first_predictor()

    def _first_predictor(self) -> Predictor:
        self._seen = self._mark()
        try:
            return _predictor(self._store, self._store.serving_version())
        except ModelRefused as refused:
            log.error("%s; serving the shipped model instead", refused)
            return _predictor(self._store, None)

    def look_now(self) -> None:
        """Look for another model at once."""
        self._promoted.set()

    def _mark(self) -> tuple[int, int] | None:
        try:
            found = self._store.pointer.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    async def answer(self, _subject: str, data: bytes) -> RouteAnswer:
        """Raises DecodeError, InvalidTask, InvalidName or PayloadTooLarge; the endpoint answers with them."""
        request = decode(RouteRequest, data)
        return route(request, self.statistics, self.predictor, self._settings, time.time())

    async def learn(self, stored: Stored) -> None:
        event = read_entry(self.statistics, stored.subject, stored.data, stored.seq, stored.stored_at)
        learn(self.statistics, event, stored.stored_at)
        if isinstance(event, Finished):
            self.live.note(stored.stored_at, _log_error(event))

    async def follow(self, connection: Connection, subjects: Subjects) -> None:
        """Learn from the newest entries and from all that follow; the averages have forgotten older ones."""
        last_seq = await _last_seq(connection, subjects.ledger_stream)
        after = max(0, last_seq - self._settings.history)
        follower = Follower(
            connection, subjects.ledger_stream, [subjects.all_ledger], self.learn, after, is_direct=True
        )
        await follower.run()

    async def watch_models(self) -> None:
        """Swap the model when another is promoted; a model that is refused changes nothing."""
        while True:
            self._promoted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._promoted.wait(), self._settings.reload_s)
            mark = self._mark()
            if mark != self._seen:
                self._seen = mark
                await self._swap()
            # Not for each touch of the pointer: replicas that share the folder write it too.
            if self._told != self.predictor.version:
                self._told = self.predictor.version
                log.info("now serving model %s", self._told)

    async def _swap(self) -> None:
        try:
            version = self._store.serving_version()
            self.predictor = await asyncio.to_thread(_predictor, self._store, version)
        except ModelRefused as refused:
            log.error("%s; still serving %s", refused, self.predictor.version)


def _log_error(event: Finished) -> float | None:
    predicted = event.attempt.p50_s
    return None if predicted is None else abs(log_seconds(event.service_s) - log_seconds(predicted))


async def _last_seq(connection: Connection, stream: str) -> int:
    """Where the stream ends now; waits until there is one."""
    while True:
        try:
            return int((await connection.api(f"STREAM.INFO.{stream}"))["state"]["last_seq"])
        except OutriderError as error:
            log.debug("waiting for the ledger: %s", error)
            await asyncio.sleep(AGAIN_S)


def _predictor(store: ModelStore, version: str | None) -> Predictor:
    model = store.load(version)
    return Predictor(model.forest, model.version)


async def serve(
    settings: NatsSettings,
    fleet: str,
    state_folder: Path,
    policy: str,
    stop: asyncio.Event,
    on_ready: Callable[[str], None],
    *,
    env: Mapping[str, str] | None = None,
) -> None:
    """Answer until `stop` is set; the ledger is folded meanwhile. Raises what opening a connection does."""
    subjects = Subjects(fleet)
    chosen = router_settings(env, policy)
    store = ModelStore(state_folder, chosen.model_key)
    service = RouterService(store, chosen)
    async with (
        await Connection.open(settings, "router") as connection,
        # A connection of its own: a long ledger must not stand before the requests.
        await Connection.open(settings, "router ledger") as ledger,
    ):
        ledger.gather(GATHER_S)
        endpoints = Endpoints(
            connection, NAME, VERSION, "chooses the agent predicted to finish each task first"
        )
        await endpoints.start()
        await endpoints.add("route", subjects.route, service.answer, queue=QUEUE, inline=True)
        await connection.settle()
        async with Background() as background:
            background.spawn(service.follow(ledger, subjects))
            background.spawn(service.watch_models())
            if chosen.policy == "model":
                keeping = ModelKeeping(ledger, subjects, store, chosen, service.live, service.look_now)
                background.spawn(keeping.follow())
                background.spawn(keeping.retrain())
            on_ready(f"router {service.predictor.version}")
            await stop.wait()
            await background.end()
        await endpoints.stop()
