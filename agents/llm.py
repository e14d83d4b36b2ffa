"""The `llm` agent: drives any OpenAI-compatible endpoint through the `openai` SDK, streaming.

Knows no provider by name but in the price table. Retrying is the orchestrator's business: the SDK's is off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outrider.agents.attempt import Handler
from outrider.agents.config import Endpoint
from outrider.agents.outcome import TaskError
from outrider.agents.prompts import PROMPTS, Prompt
from outrider.agents.task import Task
from outrider.broker.states import ErrorClass

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_S = 5.0
FIRST_TOKEN_S = 30.0
IDLE_S = 20.0

# US dollars for a million tokens, in and out; the longest matching start of a model's name counts.
PRICES = {
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4o": (2.50, 10.00),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1": (2.00, 8.00),
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds; the whole is bounded by the task's own timeout."""

    connect_s: float = CONNECT_S
    first_token_s: float = FIRST_TOKEN_S
    idle_s: float = IDLE_S


@dataclass(slots=True)
class Answer:
    """What a model said."""

    text: str = ""
    finish_reason: str = ""
    model: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


def cost_usd(endpoint: Endpoint, tokens_in: int, tokens_out: int) -> float:
    """The price of an answer; 0 for a model whose price is not known."""
    known = max((name for name in PRICES if endpoint.model.startswith(name)), key=len, default="")
    price_in, price_out = PRICES.get(known, (0.0, 0.0))
    price_in = price_in if endpoint.price_in is None else endpoint.price_in
    price_out = price_out if endpoint.price_out is None else endpoint.price_out
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


class LanguageModel:
    """The handlers of the kinds chat, summarize, classify and extract over one endpoint."""

    def __init__(
        self,
        max_tokens: int | None = None,
        temperature: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`max_tokens` bounds every answer; `temperature` is for tasks that name none."""
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._patience = patience or Patience()
        self._held: tuple[AsyncOpenAI, Endpoint] | None = None

    @asynccontextmanager
    async def open(self, endpoint: Endpoint) -> AsyncIterator[None]:
        """Hold the one HTTP client while the agent serves."""
        from openai import AsyncOpenAI, Timeout  # noqa: PLC0415 - takes half a second

        timeout = Timeout(connect=self._patience.connect_s, read=None, write=IDLE_S, pool=None)
        async with AsyncOpenAI(
            api_key=endpoint.api_key, base_url=endpoint.base_url, timeout=timeout, max_retries=0
        ) as client:
            self._held = client, endpoint
            yield
        self._held = None

    def handler(self, kind: str) -> Handler:
        build: Callable[[Any], Prompt] = PROMPTS[kind]

        async def answer(task: Task) -> dict[str, Any]:
            prompt = build(task.payload)
            said = await self._ask(prompt, task)
            if said.finish_reason == "length" and prompt.schema is not None:
                raise TaskError(ErrorClass.BAD_OUTPUT, f"the answer was cut after {said.tokens_out} tokens")
            return prompt.read(said.text) | {"model": said.model, "finish_reason": said.finish_reason}

        return answer

    async def _ask(self, prompt: Prompt, task: Task) -> Answer:
        if self._held is None:
            raise TaskError(ErrorClass.INTERRUPTED, "the agent does not hold its model endpoint")
        client, endpoint = self._held
        answer = Answer(model=endpoint.model)
        clock = asyncio.timeout(self._patience.first_token_s)
        try:
            async with (
                clock,
                await client.chat.completions.create(**self._request(prompt, endpoint.model)) as stream,
            ):
                async for chunk in stream:
                    piece = _take(chunk, answer)
                    if piece:
                        clock.reschedule(asyncio.get_running_loop().time() + self._patience.idle_s)
                        await task.emit(piece)
        except TimeoutError:
            if not clock.expired():
                raise
            raise self._late(answer) from None
        except ValueError as problem:
            raise TaskError(ErrorClass.PROVIDER, f"the model endpoint sent no JSON: {problem}") from None
        finally:
            cost = cost_usd(endpoint, answer.tokens_in, answer.tokens_out)
            task.usage(answer.tokens_in, answer.tokens_out, cost)
        if not answer.finish_reason:
            raise TaskError(
                ErrorClass.PROVIDER, "the model endpoint ended the stream before the answer was whole"
            )
        return answer

    def _late(self, answer: Answer) -> TaskError:
        if answer.text:
            return TaskError(ErrorClass.TIMEOUT, f"the model went silent for {self._patience.idle_s:g} s")
        return TaskError(ErrorClass.TIMEOUT, f"no first token within {self._patience.first_token_s:g} s")

    def _request(self, prompt: Prompt, model: str) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": model,
            "messages": prompt.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        limits = [limit for limit in (prompt.max_tokens, self._max_tokens) if limit is not None]
        if limits:
            request["max_tokens"] = min(limits)
        temperature = self._temperature if prompt.temperature is None else prompt.temperature
        if temperature is not None:
            request["temperature"] = temperature
        if prompt.schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": prompt.schema},
            }
        return request


def _take(chunk: Any, answer: Answer) -> str:
    """Add one chunk to the answer; returns its text. Raises TaskError (provider) for nonsense."""
    try:
        if chunk.usage is not None:
            answer.tokens_in = int(chunk.usage.prompt_tokens)
            answer.tokens_out = int(chunk.usage.completion_tokens)
        answer.model = str(chunk.model or answer.model)
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        piece = choice.delta.content or ""
        answer.text += piece
    except (AttributeError, TypeError, ValueError, IndexError):
        raise TaskError(ErrorClass.PROVIDER, "the model endpoint sent a chunk that makes no sense") from None
    return str(piece)
