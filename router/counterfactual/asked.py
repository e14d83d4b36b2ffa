"""What a replay asks: a policy by its name, or a model of this machine, of the package or of the fleet.

Reads the fleet's models and keeps nothing of them; knows nothing of decisions in the ledger.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from outrider.broker.subjects import check_name
from outrider.router.artifact import Model, ModelStore
from outrider.router.counterfactual.decisions import Ask
from outrider.router.counterfactual.policies import choice_of, policy_named
from outrider.router.flat_forest import ModelRefused
from outrider.router.fleet_models import LISTED, FleetModels
from outrider.router.predictor import Predictor

SERVING, SHIPPED = "serving", "shipped"


@dataclass(frozen=True, slots=True)
class Question:
    """Which decisions, and against what: the name of a policy, else a model by its version.

    `serving` (what the fleet serves) and `shipped` name models too.
    """

    since_s: float
    policy: str | None = None
    model: str | None = None

    def check(self) -> Question:
        """The question itself when it names what there may be. Raises UnknownPolicy or InvalidName."""
        if self.policy is not None:
            policy_named(self.policy)
        elif self.model is not None:
            check_name(self.model, "model version")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """Who answers; `version` is that of the model, None for a policy."""

    ask: Ask
    version: str | None = None


async def find(question: Question, models: FleetModels, store: ModelStore) -> Asked:
    """The policy or model to ask. Raises UnknownPolicy, ModelRefused, or what reading models does."""
    if question.policy is not None:
        return Asked(policy_named(question.policy))
    try:
        model = await _model_named(question.model or SERVING, models, store)
    except ModelRefused as refused:
        # What the routers do with a model that is refused says nothing to who wants to replay it.
        hint = LISTED if refused.hint == ModelRefused.default_hint else refused.hint
        raise ModelRefused(refused.message, hint=hint) from None
    return Asked(choice_of(Predictor(model.forest, model.version)), model.version)


async def _model_named(name: str, models: FleetModels, store: ModelStore) -> Model:
    shipped = store.load(None)
    if name in (SHIPPED, shipped.version):
        return shipped
    if name != SERVING:
        return await _model(name, models, store)
    decisions = await models.decisions()
    if not decisions:
        return store.load_serving()
    return await _model(decisions[-1].serves, models, store) if decisions[-1].serves else shipped


async def _model(version: str, models: FleetModels, store: ModelStore) -> Model:
    """The copy on this machine if it is sound, else the fleet's, checked as routers check it."""
    try:
        return await asyncio.to_thread(store.load, version)
    except ModelRefused:
        files = await models.fetch(version)
        return await asyncio.to_thread(store.check, version, files)
