"""The llm agent through the real `openai` SDK against a real HTTP endpoint, faults included."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from outrider.agents import Agent, AgentOptions, ErrorClass, build_agent
from outrider.agents.config import Endpoint
from outrider.agents.llm import LanguageModel, Patience
from outrider.broker.config import NatsSettings
from outrider.broker.messages import AttemptError
from outrider.broker.outcomes import Failed, Succeeded
from outrider.broker.subjects import Subjects
from tests.integration.agents.counterpart import Counterpart, serving
from tests.support.openai_server import OpenAIServer, Reply

SECRET = "sk-verysecretkey123456"


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


def impatient(endpoint: OpenAIServer) -> Agent:
    """A chat agent that waits 0.3 s for a first token or the next one."""
    model = LanguageModel(patience=Patience(connect_s=1.0, first_token_s=0.3, idle_s=0.3))

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with model.open(Endpoint("m", "k", endpoint.base_url)):
            yield

    agent = Agent("a1", lifespan=lifespan)
    agent.handles("chat")(model.handler("chat"))
    return agent


async def test_an_answer_streams_and_is_recorded_with_tokens_and_cost(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, endpoint: OpenAIServer
) -> None:
    async with serving(build_agent(["chat"], "a1"), settings, subjects):
        await part.give("a1", "chat", {"prompt": "hi", "max_tokens": 50})
        outcome = await part.outcome()
        assert isinstance(outcome, Succeeded)
        assert outcome.result == {"text": "Hello, world", "model": "gpt-4o", "finish_reason": "stop"}
        assert (outcome.usage.tokens_in, outcome.usage.tokens_out) == (11, 3)
        assert outcome.usage.cost_usd == pytest.approx((11 * 2.5 + 3 * 10.0) / 1e6)
        assert "".join(c.data for c in await part.chunks()) == "Hello, world"
    request = endpoint.requests[0]
    assert (request["model"], request["max_tokens"], request["stream"]) == ("gpt-4o", 50, True)
    assert [m["role"] for m in request["messages"]] == ["system", "user"]
    assert endpoint.keys == [SECRET]


async def test_settings_choose_model_prices_and_the_cap_on_tokens(
    part: Counterpart,
    settings: NatsSettings,
    subjects: Subjects,
    endpoint: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OUTRIDER_MODEL", "house-model")
    monkeypatch.setenv("OUTRIDER_PRICE_IN", "100")
    monkeypatch.setenv("OUTRIDER_PRICE_OUT", "200")
    agent = build_agent(["chat"], "a1", options=AgentOptions(max_tokens=7))
    async with serving(agent, settings, subjects):
        await part.give("a1", "chat", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50})
        outcome = await part.outcome()
    assert outcome.usage.cost_usd == pytest.approx((11 * 100 + 3 * 200) / 1e6)
    assert (endpoint.requests[0]["model"], endpoint.requests[0]["max_tokens"]) == ("house-model", 7)
    assert endpoint.requests[0]["messages"][0]["role"] == "system"


async def test_structured_kinds_ask_for_a_schema_and_check_the_answer(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, endpoint: OpenAIServer
) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    endpoint.script(
        Reply(['{"label":', '"spam"}']),
        Reply(['{"n": ', "5}"]),
        Reply(['{"m": 5}']),
        Reply(["not JSON"]),
        Reply(['{"n": ', "5"], finish_reason="length"),
    )
    async with serving(build_agent(["classify", "extract", "summarize"], "a1"), settings, subjects):
        await part.give("a1", "classify", {"text": "buy now", "labels": ["spam", "ham"]})
        assert (await part.result())["label"] == "spam"
        await part.give("a1", "extract", {"text": "five", "schema": schema}, task_id="t2")
        assert (await part.result("t2"))["data"] == {"n": 5}
        for task_id, says in (("t3", "lacks n"), ("t4", "no JSON"), ("t5", "cut after")):
            await part.give("a1", "extract", {"text": "five", "schema": schema}, task_id=task_id)
            error = (await part.failure(task_id)).error
            assert error.error_class is ErrorClass.BAD_OUTPUT
            assert says in error.message
        await part.give("a1", "summarize", {"text": "long"}, task_id="t6")
        assert (await part.result("t6"))["summary"] == "Hello, world"
    assert endpoint.requests[1]["response_format"]["json_schema"]["schema"] == schema


FAULTS = [
    (Reply(status=429, headers={"retry-after": "7"}), ErrorClass.RATE_LIMITED, True, 7.0),
    (
        Reply(status=429, error={"message": "pay", "code": "insufficient_quota"}),
        ErrorClass.QUOTA,
        False,
        None,
    ),
    (Reply(status=401, error={"message": f"bad key {SECRET}"}), ErrorClass.UNAUTHORIZED, False, None),
    (Reply(status=400, error={"message": "context too long"}), ErrorClass.INVALID_INPUT, False, None),
    (Reply(status=404, error={"message": "no such model"}), ErrorClass.PROVIDER, False, None),
    (Reply(status=500), ErrorClass.PROVIDER, True, None),
    (Reply(status=503, headers={"retry-after-ms": "1500"}), ErrorClass.PROVIDER, True, 1.5),
    (Reply(then="drop"), ErrorClass.CONNECTION, True, None),
    (Reply(then="garbage"), ErrorClass.PROVIDER, True, None),
    (Reply([], finish_reason=""), ErrorClass.PROVIDER, True, None),
]


@pytest.mark.parametrize(("reply", "error_class", "can_retry", "retry_after_s"), FAULTS)
async def test_what_goes_wrong_at_the_endpoint_gets_its_class_and_is_not_retried_by_the_sdk(
    part: Counterpart,
    settings: NatsSettings,
    subjects: Subjects,
    endpoint: OpenAIServer,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    error_class: ErrorClass,
    can_retry: bool,
    retry_after_s: float | None,
) -> None:
    caplog.set_level(logging.INFO)
    endpoint.script(reply)
    async with serving(build_agent(["chat"], "a1"), settings, subjects):
        await part.give("a1", "chat", {"prompt": "hi"})
        error: AttemptError = (await part.failure()).error
    assert (error.error_class, error.retryable, error.retry_after_s) == (
        error_class,
        can_retry,
        retry_after_s,
    )
    assert error.message
    assert len(endpoint.requests) == 1
    assert SECRET not in error.message + caplog.text


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(silent=True), "no first token"),
        (Reply([], then="hang"), "no first token"),
        (Reply(["a"], then="hang"), "went silent"),
    ],
)
async def test_an_endpoint_that_hangs_is_cut_off(
    part: Counterpart,
    settings: NatsSettings,
    subjects: Subjects,
    endpoint: OpenAIServer,
    reply: Reply,
    says: str,
) -> None:
    endpoint.script(reply)
    async with serving(impatient(endpoint), settings, subjects):
        await part.give("a1", "chat", {"prompt": "hi"})
        error = (await part.failure()).error
        assert error.error_class is ErrorClass.TIMEOUT
        assert says in error.message
        await asyncio.wait_for(endpoint.disconnected.wait(), 20)


async def test_a_slow_but_steady_answer_is_not_cut_off(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, endpoint: OpenAIServer
) -> None:
    endpoint.script(Reply(["tick "] * 8, piece_s=0.1))  # 0.8 s in all, beyond both limits
    async with serving(impatient(endpoint), settings, subjects):
        await part.give("a1", "chat", {"prompt": "hi"})
        assert (await part.result())["text"] == "tick " * 8


async def test_nobody_at_the_endpoint_is_a_connection_failure(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    async with serving(build_agent(["chat"], "a1"), settings, subjects):
        await part.give("a1", "chat", {"prompt": "hi"})
        assert (await part.failure()).error.error_class is ErrorClass.CONNECTION


async def test_cancel_stops_the_generation_at_the_endpoint(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, endpoint: OpenAIServer
) -> None:
    endpoint.script(Reply(["a"], then="hang"))
    async with serving(build_agent(["chat"], "a1"), settings, subjects):
        given = await part.give("a1", "chat", {"prompt": "hi"})
        from tests.support.waiting import eventually

        await eventually(part.chunks, 10, "the first token")
        await part.cancel("a1", given)
        await asyncio.wait_for(endpoint.disconnected.wait(), 20)
        assert await part.outcomes() == []


BAD_PAYLOADS: list[tuple[str, Any, str]] = [
    ("chat", {}, "prompt or messages"),
    ("chat", "hi", "payload is not a map"),
    ("chat", {"prompt": 5}, "payload.prompt"),
    ("chat", {"messages": []}, "payload.messages"),
    ("chat", {"messages": [{"role": "boss", "content": "x"}]}, "payload.messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": 1}]}, "payload.messages[0].content"),
    ("chat", {"prompt": "x", "temperature": 9}, "payload.temperature"),
    ("chat", {"prompt": "x", "max_tokens": 0}, "payload.max_tokens"),
    ("summarize", {"text": "  "}, "payload.text"),
    ("classify", {"text": "x", "labels": "spam"}, "payload.labels"),
    ("extract", {"text": "x"}, "payload.schema"),
]


async def test_bad_payloads_are_invalid_input_that_names_the_field(
    part: Counterpart, settings: NatsSettings, subjects: Subjects, endpoint: OpenAIServer
) -> None:
    kinds = ["chat", "summarize", "classify", "extract"]
    async with serving(build_agent(kinds, "a1"), settings, subjects):
        for n, (kind, payload, says) in enumerate(BAD_PAYLOADS):
            await part.give("a1", kind, payload, task_id=f"b{n}")
            outcome = await part.outcome(f"b{n}")
            assert isinstance(outcome, Failed)
            assert (outcome.error.error_class, outcome.error.retryable) == (ErrorClass.INVALID_INPUT, False)
            assert says in outcome.error.message
    assert endpoint.requests == []
