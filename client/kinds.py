"""Which kinds the fleet knows and who is online for them, asked at most every few seconds."""

from __future__ import annotations

import asyncio

from outrider.broker.errors import NatsUnavailable, NobodyAnswers, OutriderError, TimedOut, UnknownKind
from outrider.broker.states import AgentState
from outrider.broker.views import AgentList, AgentView
from outrider.client.asking import Asker

FRESH_S = 5.0
ASK_AGAIN_AFTER_S = 0.5
MOST_SAID = 1_000
AT_WORK = frozenset({AgentState.ONLINE, AgentState.COOLING_DOWN})
NOBODY = "no orchestrator answers: the task is stored and waits for one"


class KindBook:
    """The fleet's kinds as of the last few seconds."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._loop = asyncio.get_running_loop()
        self._asking = asyncio.Lock()
        self._asked_at = -FRESH_S
        self._list: AgentList | None = None
        self._expected = ""
        """The kind that was asked for last because nobody knew it."""
        self._said: dict[tuple[str, tuple[str, ...]], str | None] = {}

    async def check(self, kind: str, requires: tuple[str, ...]) -> str | None:
        """None, or a warning why nobody will start this task now.

        Raises UnknownKind, and NobodyAnswers when no orchestrator ever ran.
        """
        await self._refresh(FRESH_S)
        if (kind, requires) in self._said:
            return self._said[kind, requires]
        if self._list is not None and kind not in self._list.kinds:
            await self._expect(kind)
        if len(self._said) >= MOST_SAID:
            self._said.clear()
        said = self._said[kind, requires] = self._judge(kind, requires)
        return said

    @property
    def refuses(self) -> str | None:
        """Why the fleet takes no new task, as it said within the last few seconds."""
        return self._list.refuses if self._list is not None else None

    async def _refresh(self, older_than_s: float) -> None:
        if self._loop.time() - self._asked_at < older_than_s:
            return
        async with self._asking:
            if self._loop.time() - self._asked_at < older_than_s:
                return
            self._list = await self._ask()
            self._said.clear()
            self._asked_at = self._loop.time()

    async def _expect(self, kind: str) -> None:
        """Ask once more for a kind before it is refused: an agent may have declared it a moment ago."""
        if kind == self._expected and self._loop.time() - self._asked_at < ASK_AGAIN_AFTER_S:
            return
        self._list, self._expected = await self._ask(kind), kind
        self._said.clear()
        self._asked_at = self._loop.time()

    async def _ask(self, expected: str | None = None) -> AgentList | None:
        try:
            return await self._asker.agents(expected)
        except (NobodyAnswers, TimedOut, NatsUnavailable) as error:
            if self._list is not None and not isinstance(error, NobodyAnswers):
                return self._list
            if await self._asker.has_queue():
                return None
            raise NobodyAnswers(
                f"fleet {self._asker.fleet!r} has no task queue on this NATS: no orchestrator ever ran here"
            ) from error

    def _judge(self, kind: str, requires: tuple[str, ...]) -> str | None:
        if self._list is None:
            return NOBODY
        if kind not in self._list.kinds:
            raise unknown_kind(kind, self._list)
        if kind in self._list.paused:
            return f"kind {kind!r} is paused: the task waits until somebody resumes it"
        for_kind = [a for a in self._list.agents if kind in a.kinds and a.state in AT_WORK]
        if not for_kind:
            return f"no agent for kind {kind!r} is online: the task waits for one"
        if not any(_has_labels(agent, requires) for agent in for_kind):
            labels = ", ".join(requires)
            return f"no agent for kind {kind!r} with labels {labels} is online: the task waits for one"
        return None


def _has_labels(agent: AgentView, requires: tuple[str, ...]) -> bool:
    return set(requires) <= set(agent.labels)


def unknown_kind(kind: str, known: AgentList) -> OutriderError:
    """The refusal, naming what is known instead."""
    kinds = ", ".join(sorted(known.kinds)) or "none yet"
    return UnknownKind(
        f"no agent ever declared kind {kind!r}; known kinds: {kinds}",
        hint=f"start an agent for it: outrider agent --kinds {kind}",
    )
