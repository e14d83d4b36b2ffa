"""LiteLLM's routing strategies as policies, by calling its own classes. Only where the package is installed.

It is no dependency, not even for development: it pins what agents need otherwise. Checked with 1.106.2.
Its strategies are told whole seconds, not seconds a token, which favours them; its cooldown layer is apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from outrider.router.evaluation.baselines import Immediate, Sight
from outrider.router.evaluation.simulation import Placement, Policy
from outrider.router.evaluation.world import SimTask

Make = Callable[[int, Sequence[str]], Policy]
GROUP = "group"


def litellm_policies() -> dict[str, Make]:
    """Makers of the policies by name; empty when the package is not there."""
    if find_spec("litellm") is None:
        return {}
    return {"litellm_latency": LiteLlmLatency, "litellm_least_busy": LiteLlmLeastBusy}


class _LiteLlm(Immediate):
    """One of its handlers with a cache in memory, and our agents as its deployments."""

    def __init__(self, seed: int, agents: Sequence[str], module: str, handler: str) -> None:
        super().__init__(seed)
        cache = import_module("litellm.caching.caching").DualCache()
        self._handler: Any = getattr(import_module(f"litellm.router_strategy.{module}"), handler)(cache)
        self._deployments = [
            {"model_info": {"id": str(number)}, "litellm_params": {"model": name}}
            for number, name in enumerate(agents)
        ]

    def choose(self, sight: Sight) -> int:
        healthy = [self._deployments[number] for number in sight.there]
        found = self._handler.get_available_deployments(GROUP, healthy)
        return int(found["model_info"]["id"])

    def about(self, agent: int) -> dict[str, Any]:
        """What its hooks are told of a call."""
        params = {"metadata": {"model_group": GROUP}, "model_info": {"id": str(agent)}}
        return {"litellm_params": params}


class LiteLlmLatency(_LiteLlm):
    """Mean of the last ten latencies; a failure that is no timeout teaches it nothing."""

    name = "litellm_latency"

    def __init__(self, seed: int, agents: Sequence[str]) -> None:
        super().__init__(seed, agents, "lowest_latency", "LowestLatencyLoggingHandler")

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        if succeeded:
            self._handler.log_success_event(self.about(agent), None, now - service_s, now)


class LiteLlmLeastBusy(_LiteLlm):
    """Fewest calls under way."""

    name = "litellm_least_busy"

    def __init__(self, seed: int, agents: Sequence[str]) -> None:
        super().__init__(seed, agents, "least_busy", "LeastBusyLoggingHandler")

    def placed(self, now: float, task: SimTask, agent: int, in_flight: int, chosen: Placement) -> None:
        self._handler.log_pre_api_call("", [], self.about(agent))

    def ended(self, now: float, task: SimTask, agent: int, service_s: float, succeeded: bool) -> None:
        report = self._handler.log_success_event if succeeded else self._handler.log_failure_event
        report(self.about(agent), None, now - service_s, now)
