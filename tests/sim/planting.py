"""How a deliberate defect is put into the product for as long as a context lasts. Knows no defect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Swap = tuple[Any, str, Any]
"""Whose attribute, its name, and what stands there while the bug is in."""

BUGS: dict[str, Callable[[], list[Swap]]] = {}


def bug(make: Callable[[], list[Swap]]) -> Callable[[], list[Swap]]:
    """Register a bug under its function's name."""
    BUGS[make.__name__] = make
    return make


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with one bug in it."""
    with ExitStack() as stack:
        for owner, attribute, value in BUGS[name]():
            stack.enter_context(patch.object(owner, attribute, value))
        yield


def nothing(*_: Any, **__: Any) -> None:
    """What a forgotten step does."""
