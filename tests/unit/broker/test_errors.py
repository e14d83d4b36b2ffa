"""An error crosses the wire and is the same error on the other side."""

from __future__ import annotations

import pytest

from outrider.broker import errors
from outrider.broker.codec import Format, dump, load
from outrider.broker.connection import ApiError
from outrider.broker.errors import OutriderError, error_from_wire


def every_class() -> list[type[OutriderError]]:
    found: list[type[OutriderError]] = []
    left = [OutriderError]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("fmt", Format)
def test_every_error_comes_back_as_itself(kind: type[OutriderError], fmt: Format) -> None:
    sent = kind("what happened", hint="what to do")
    back = error_from_wire(load(dump(sent.to_wire(), fmt)))
    assert type(back) is kind
    assert (back.code, back.message, back.hint) == (kind.code, "what happened", "what to do")


def test_codes_are_different() -> None:
    codes = [kind.code for kind in every_class()]
    assert len(codes) == len(set(codes))


def test_an_unknown_code_is_an_error_all_the_same() -> None:
    back = error_from_wire({"error": {"code": "from_the_future", "message": "oh"}})
    assert isinstance(back, OutriderError)
    assert back.message == "oh"


def test_a_refusal_of_jetstream_that_an_orchestrator_passes_on_comes_back_as_itself() -> None:
    sent = ApiError("no such stream", 10059)
    back = error_from_wire(sent.to_wire())
    assert isinstance(back, ApiError)
    assert back.message == sent.message


def test_an_error_that_is_made_of_more_than_a_text_is_an_error_all_the_same() -> None:
    class Odd(OutriderError):
        code = "odd_one"

        def __init__(self, number: int) -> None:
            super().__init__(str(number))

    assert Odd(1).code == "odd_one"
    back = error_from_wire({"error": {"code": "odd_one", "message": "oh", "hint": "so"}})
    assert back is not None
    assert (back.message, back.hint) == ("oh", "so")


@pytest.mark.parametrize("body", [None, [], "error", {}, {"error": "text"}, {"errors": {}}])
def test_other_answers_are_no_errors(body: object) -> None:
    assert error_from_wire(body) is None


def test_an_error_without_words_says_what_its_class_says() -> None:
    assert str(errors.QueueFull()) == "The task queue is at its limit and refuses new tasks."
    assert errors.QueueFull().hint
