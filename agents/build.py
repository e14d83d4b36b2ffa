"""Builds the agents that ship, by kind, for the command line and the demo."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from outrider.agents.agent import Agent
from outrider.agents.config import endpoint_from, local_model_folder
from outrider.agents.samples import echo, sleeper
from outrider.broker.config import BadSettings, environment
from outrider.broker.errors import UnknownKind

LLM_KINDS = ("chat", "summarize", "classify", "extract")
SHIPPED_KINDS = ("echo", "sleep", *LLM_KINDS)
LOCAL_MAX_TOKENS = 256
"""The local model is small: left alone it talks until its context is full."""
LOCAL_FIRST_TOKEN_S, LOCAL_IDLE_S = 120.0, 60.0
"""It reads some 250 tokens/s in all, less on a busy machine, and what waits for a slot is not stuck."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How the shipped handlers behave. `speed` divides the seconds of `sleep`."""

    max_tokens: int | None = None
    speed: float = 1.0

    def check(self) -> AgentOptions:
        """The options themselves when they make sense. Raises BadSettings."""
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadSettings(f"max_tokens {self.max_tokens} is not a whole number from 1")
        if not 0 < self.speed < 1e6:
            raise BadSettings(f"speed {self.speed} is not a number over 0")
        return self


def build_agent(
    kinds: Iterable[str],
    name: str,
    slots: int = 4,
    labels: Iterable[str] = (),
    options: AgentOptions | None = None,
    state: Path | None = None,
) -> Agent:
    """An agent with the shipped handlers of these kinds.

    Language kinds use the endpoint of OPENAI_API_KEY or OPENAI_BASE_URL, else the local model.
    Raises UnknownKind, BadSettings, InvalidName, or MissingExtra when the local model is not installed.
    """
    wanted, chosen = tuple(dict.fromkeys(kinds)), (options or AgentOptions()).check()
    if not wanted:
        raise BadSettings("an agent needs at least one kind", hint=f"one of {', '.join(SHIPPED_KINDS)}")
    unknown = [kind for kind in wanted if kind not in SHIPPED_KINDS]
    if unknown:
        raise UnknownKind(
            f"no agent for kind {', '.join(unknown)} ships with Outrider",
            hint=f"use {', '.join(SHIPPED_KINDS)}, or write your own agent: docs/agents.md",
        )
    language = [kind for kind in wanted if kind in LLM_KINDS]
    lifespan = _Language(chosen) if language else None
    agent = Agent(name, slots, labels, lifespan=lifespan.lifespan if lifespan else None, state=state)
    for kind in wanted:
        if kind in LLM_KINDS and lifespan is not None:
            agent.handles(kind)(lifespan.model.handler(kind))
        else:
            agent.handles(kind)(echo if kind == "echo" else sleeper(chosen.speed))
    return agent


class _Language:
    """The language model that the environment names, and how to hold it while the agent serves."""

    def __init__(self, options: AgentOptions) -> None:
        from outrider.agents.llm import LanguageModel, Patience  # noqa: PLC0415
        from outrider.agents.local import model_file  # noqa: PLC0415

        self._endpoint = endpoint_from(environment())
        self._folder = local_model_folder(environment())
        if self._endpoint is not None:
            self.model = LanguageModel(options.max_tokens)
            return
        model_file()
        self.model = LanguageModel(
            options.max_tokens or LOCAL_MAX_TOKENS,
            temperature=0.0,
            patience=Patience(first_token_s=LOCAL_FIRST_TOKEN_S, idle_s=LOCAL_IDLE_S),
        )

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        from outrider.agents.local import local_model  # noqa: PLC0415

        if self._endpoint is not None:
            async with self.model.open(self._endpoint):
                yield
        else:
            async with local_model(self._folder) as endpoint, self.model.open(endpoint):
                yield
