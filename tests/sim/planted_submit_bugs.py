"""Deliberate defects in unique tasks, debounce and large payloads, that the simulator must notice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from outrider.broker.errors import ObjectMissing
from outrider.broker.messages import AttemptError, TaskEnvelope
from outrider.broker.object_ref import ObjectRef
from outrider.broker.objects import ObjectStore
from outrider.broker.scheduling import SubmitOptions
from outrider.broker.states import ErrorClass, TaskState
from outrider.orchestrator.arrangements import Arrangements
from outrider.orchestrator.keys import Keys, Record
from outrider.orchestrator.scheduled import Scheduled
from tests.sim import agent_store
from tests.sim.agent_store import AgentStore
from tests.sim.planting import Swap, bug
from tests.sim.temper import Finished

# Unique while queued


@bug
def unique_name_taken_without_comparing() -> list[Swap]:
    real = Keys.change

    async def change(self: Keys, name: str, to: dict[str, Any], after: Record) -> None:
        if name.startswith("unique-"):
            after = replace(await self.read(name), value=after.value)
        await real(self, name, to, after)

    return [(Keys, "change", change)]


@bug
def unique_only_until_it_runs() -> list[Swap]:
    real = Arrangements._claim

    async def claim(self: Arrangements, envelope: TaskEnvelope, options: SubmitOptions) -> Any:
        state_of = self._state_of

        async def as_if_over(task_id: str) -> TaskState | None:
            state = await state_of(task_id)
            return TaskState.SUCCEEDED if state in (TaskState.ASSIGNED, TaskState.RUNNING) else state

        vars(self)["_state_of"] = as_if_over
        try:
            return await real(self, envelope, options)
        finally:
            vars(self)["_state_of"] = state_of

    return [(Arrangements, "_claim", claim)]


# The last of a burst


@bug
def debounce_does_not_wait_anew() -> list[Swap]:
    async def moved_on(*_: Any) -> bool:
        return False

    return [(Arrangements, "_moved_on", moved_on)]


@bug
def debounce_runs_the_first_of_a_burst() -> list[Swap]:
    real = Arrangements.quiet

    async def quiet(self: Arrangements, task: Scheduled, fired_at: float) -> TaskEnvelope | None:
        found = await real(self, task, fired_at)
        return task.envelope if found is not None else None

    return [(Arrangements, "quiet", quiet)]


@bug
def debounce_forgets_that_it_fired() -> list[Swap]:
    real = Keys.change

    async def change(self: Keys, name: str, to: dict[str, Any], after: Record) -> None:
        if to.get("state") != "fired":
            await real(self, name, to, after)

    return [(Keys, "change", change)]


# Large payloads and results


@bug
def object_not_verified() -> list[Swap]:
    async def get(self: ObjectStore, ref: ObjectRef) -> bytes:
        meta = await self._meta_after_all(ref)
        return await self._read_chunks(ref, json.loads(meta.data)["nuid"])

    return [(ObjectStore, "get", get)]


@bug
def result_recorded_before_it_is_stored() -> list[Swap]:
    real = AgentStore.store

    def store(self: AgentStore, finished: Finished, then: Any) -> None:
        then(True)
        real(self, finished, lambda _: None)

    return [(AgentStore, "store", store)]


@bug
def missing_payload_tried_again() -> list[Swap]:
    real: Any = vars(agent_store)["classify"]

    def classify(problem: BaseException) -> AttemptError:
        error: AttemptError = real(problem)
        if isinstance(problem, ObjectMissing):
            return replace(error, error_class=ErrorClass.CONNECTION, retryable=True)
        return error

    return [(agent_store, "classify", classify)]


@bug
def replica_taken_at_its_word() -> list[Swap]:
    async def page(self: ObjectStore, upload: str, first: int) -> Any:
        return await self._reader.all_of(self._chunks_subject(upload), first, 16)

    return [(ObjectStore, "_page_after_all", page)]
