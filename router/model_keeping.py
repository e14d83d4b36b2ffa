"""A router's part in the fleet's models: serve what was decided, have a new one trained when that is due.

Neither stands in the way of a request: files are checked in a thread, training is a child of low priority.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

from outrider.broker.child import ChildFailed, run_child
from outrider.broker.connection import Connection
from outrider.broker.errors import OutriderError
from outrider.broker.schema import to_map
from outrider.broker.subjects import Subjects
from outrider.router.artifact import ModelStore
from outrider.router.config import RouterSettings
from outrider.router.decisions import Decision, Trigger, in_words, is_held, last_training
from outrider.router.fleet_models import FleetModels
from outrider.router.fleet_training import bring, key_problem
from outrider.router.retraining import LiveErrors, Schedule, due

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
TRAINED_WITHIN_S = 1500.0
"""Less than the lease of a training."""
AGAIN_S = 60.0


def _told(error: Exception) -> str:
    hint = getattr(error, "hint", "")
    return f"{error} ({hint})" if hint and hint not in str(error) else str(error)


class ModelKeeping:
    """What one replica knows of the decisions. `on_promoted` is called when its store points elsewhere."""

    def __init__(
        self,
        connection: Connection,
        subjects: Subjects,
        store: ModelStore,
        settings: RouterSettings,
        live: LiveErrors,
        on_promoted: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._store = store
        self._settings = settings
        self._live = live
        self._on_promoted = on_promoted
        self._models = FleetModels(connection, subjects)
        self._decisions: list[Decision] = []
        self._applied = 0
        self._told: int | None = None
        """Up to which decision all is in the log; None before the first look."""
        self._complaint = ""
        self._schedule = Schedule(
            settings.retrain_s, settings.retrain_drift, settings.retrain_gap_s, settings.fewest_rows
        )

    # ---- serving what was decided

    async def follow(self) -> None:
        """Serve what the newest decision names; runs until cancelled. What is refused changes nothing."""
        pause_s = self._settings.reload_s
        while True:
            try:
                await self.look()
                pause_s = self._settings.reload_s
                self._complaint = ""
            except (OutriderError, OSError) as error:
                self._complain(_told(error))
                pause_s = min(max(2 * pause_s, 1.0), LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    def _complain(self, what: str) -> None:
        """Once for each decision and reason, however often it is tried."""
        is_news = self._connection.is_connected and what != self._complaint
        if is_news:
            self._complaint = what
        level = logging.ERROR if is_news else logging.DEBUG
        log.log(level, "the fleet's model is not taken over: %s; serving on as before", what)

    async def look(self) -> None:
        """Take over the newest decision. Raises ModelRefused, BrokenObject, or what reading raises."""
        newest = await self._models.newest()
        if newest is None:
            self._told = self._told or 0
            return
        if newest.seq == self._applied:
            return
        self._decisions = await self._models.decisions()
        training = last_training(self._decisions)
        if training is not None:
            self._live.trained(training.at)
        self._tell(newest)
        differs = newest.serving != self._served()
        # At the start in any case: a copy that was damaged here is brought anew.
        if differs or not self._applied:
            is_new_here = await bring(self._models, self._store, newest.serves)
            if differs or is_new_here:
                self._store.promote(newest.serving)
            self._on_promoted()
        self._applied = newest.seq

    def _tell(self, newest: Decision) -> None:
        """Log the decisions that came since the last look, at the start only the newest; each once."""
        told = newest.seq - 1 if self._told is None else self._told
        if newest.seq <= told:
            return
        since = [d for d in self._decisions if told < d.seq < newest.seq]
        for decision in (*since, newest):
            log.info("%s", in_words(decision))
        self._told = newest.seq
        self._complaint = ""

    def _served(self) -> str | None:
        with suppress(OutriderError):
            return self._store.serving_version()
        return ""

    # ---- having a new one trained

    async def retrain(self) -> None:
        """Start a training whenever one is due, in a child; runs until cancelled."""
        tried_at = time.time()
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * self._settings.reload_s)
            found = self._due(tried_at)
            if found is None or not self._connection.is_connected:
                continue
            # Whatever is wrong with NATS or the disk, `follow` says; a request never suffers from it.
            with suppress(OutriderError, OSError):
                if (await self._models.lease()).is_held(time.time()):
                    continue
                await self.look()
                if self._due(tried_at) is None:
                    continue
                trigger, why = found
                log.info("training a new model: %s", why)
                if not await self._train_by_child(trigger):
                    await asyncio.sleep(AGAIN_S)
                await self.look()
            tried_at = time.time()

    def _due(self, tried_at: float) -> tuple[Trigger, str] | None:
        if is_held(self._decisions) or key_problem(self._store, self._decisions) is not None:
            return None
        training = last_training(self._decisions)
        judged = training.error_judged() if training is not None else None
        return due(self._schedule, self._live, judged, max(tried_at, self._live.since), time.time())

    async def _train_by_child(self, trigger: Trigger) -> bool:
        """Tells whether it ended well."""
        job = {
            "settings": to_map(self._connection.settings),
            "fleet": self._subjects.fleet,
            "state": str(self._store.state_folder),
            "fewest_rows": self._settings.fewest_rows,
            "model_key": self._settings.model_key,
            "trigger": trigger.value,
            "after": self._decisions[-1].seq if self._decisions else 0,
        }
        try:
            await run_child("outrider.router.training_process", job, TRAINED_WITHIN_S)
        except ChildFailed as failed:
            log.warning("the training failed: %s; trying again later", failed)
            return False
        return True
