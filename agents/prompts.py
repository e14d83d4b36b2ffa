"""Prompts built from payloads, one function a kind. Pure: calls no model.

A payload that cannot be used is a TaskError (invalid_input) that names the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from outrider.agents.outcome import TaskError
from outrider.broker.states import ErrorClass

ROLES = ("system", "developer", "user", "assistant")
CHAT_SYSTEM = "You are a helpful assistant. Answer briefly and correctly."
SUMMARIZE_SYSTEM = "You summarize text. Answer with the summary only, in at most three sentences."
CLASSIFY_SYSTEM = "You classify text. Choose exactly one of the given labels."
EXTRACT_SYSTEM = "You extract data from text. Answer with JSON that follows the given schema, nothing else."

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to ask a model and how to read its answer."""

    messages: list[Message]
    read: Callable[[str], dict[str, Any]]
    """Turns the model's text into the result. Raises TaskError (bad_output)."""
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None


def _invalid(message: str) -> NoReturn:
    raise TaskError(ErrorClass.INVALID_INPUT, message)


def _map(payload: Any) -> dict[str, Any]:
    return payload if isinstance(payload, dict) else _invalid("payload is not a map")


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if isinstance(value, str) and value.strip():
        return value
    _invalid(f"payload.{name} is missing" if value is None else f"payload.{name} is not text, or empty")


def _number(payload: dict[str, Any], name: str, lowest: float, highest: float) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and lowest <= value <= highest:
        return float(value)
    _invalid(f"payload.{name} is {value!r}, not a number from {lowest:g} to {highest:g}")


def _limits(payload: dict[str, Any]) -> tuple[int | None, float | None]:
    most = _number(payload, "max_tokens", 1, 1_000_000)
    return (None if most is None else int(most)), _number(payload, "temperature", 0, 2)


def _ask(system: str, user: str) -> list[Message]:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def chat(payload: Any) -> Prompt:
    """`messages`, or `prompt` with an optional `system`; `{"text"}` is the answer."""
    given = _map(payload)
    system = _text(given, "system") if given.get("system") is not None else CHAT_SYSTEM
    if given.get("messages") is None:
        if given.get("prompt") is None:
            _invalid("payload needs prompt or messages")
        messages = _ask(system, _text(given, "prompt"))
    else:
        messages = _messages(given["messages"])
        if messages[0]["role"] not in ("system", "developer"):
            # Small models answer nonsense without one.
            messages = [{"role": "system", "content": system}, *messages]
    return Prompt(messages, lambda text: {"text": text}, None, *_limits(given))


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        _invalid("payload.messages is not a list of at least one message")
    return [_message(message, n) for n, message in enumerate(value)]


def _message(message: Any, n: int) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        _invalid(f"payload.messages[{n}].role is not one of {', '.join(ROLES)}")
    if not isinstance(message.get("content"), str):
        _invalid(f"payload.messages[{n}].content is not text")
    return {"role": message["role"], "content": message["content"]}


def summarize(payload: Any) -> Prompt:
    """`text`; the answer is `{"summary"}`."""
    given = _map(payload)
    messages = _ask(SUMMARIZE_SYSTEM, f"Summarize this text:\n\n{_text(given, 'text')}")
    return Prompt(messages, lambda text: {"summary": text.strip()}, None, *_limits(given))


def classify(payload: Any) -> Prompt:
    """`text` and `labels`; the answer is `{"label"}`, one of them."""
    given = _map(payload)
    labels = given.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) and x for x in labels):
        _invalid("payload.labels is not a list of texts")
    user = f"Labels: {', '.join(labels)}\n\nText:\n{_text(given, 'text')}\n\nWhich label fits best?"
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": labels}},
        "required": ["label"],
        "additionalProperties": False,
    }
    return Prompt(_ask(CLASSIFY_SYSTEM, user), lambda text: _label(text, labels), schema, *_limits(given))


def _label(text: str, labels: list[str]) -> dict[str, Any]:
    answer = _json(text)
    label = answer.get("label") if isinstance(answer, dict) else None
    if label not in labels:
        raise TaskError(ErrorClass.BAD_OUTPUT, f"the model's label {label!r} is not one of the given ones")
    return {"label": label}


def extract(payload: Any) -> Prompt:
    """`text` and a JSON `schema`; the answer is `{"data"}`."""
    given = _map(payload)
    schema = given.get("schema")
    if not isinstance(schema, dict) or not schema:
        _invalid("payload.schema is not a JSON schema")
    user = f"Schema:\n{json.dumps(schema, ensure_ascii=False)}\n\nText:\n{_text(given, 'text')}"
    return Prompt(_ask(EXTRACT_SYSTEM, user), lambda text: _data(text, schema), schema, *_limits(given))


def _data(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    data = _json(text)
    if schema.get("type") == "object":
        if not isinstance(data, dict):
            raise TaskError(ErrorClass.BAD_OUTPUT, "the model's answer is JSON but no object")
        required = schema.get("required")
        lacking = [name for name in required if name not in data] if isinstance(required, list) else []
        if lacking:
            raise TaskError(ErrorClass.BAD_OUTPUT, f"the model's answer lacks {', '.join(map(str, lacking))}")
    return {"data": data}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as problem:
        raise TaskError(ErrorClass.BAD_OUTPUT, f"the model's answer is no JSON: {problem}") from None


PROMPTS: dict[str, Callable[[Any], Prompt]] = {
    "chat": chat,
    "summarize": summarize,
    "classify": classify,
    "extract": extract,
}
