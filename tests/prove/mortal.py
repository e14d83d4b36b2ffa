"""Lives that end at their k-th await, as by kill -9: from then on not one line of their code runs.

No `finally`, no `except`, nothing buffered is sent, the sockets just close. What is left of an ended life is
kept for ever, because Python would run its clean-up when it is forgotten: whoever uses this ends with
`os._exit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any


class Life:
    """All tasks that descend from one coroutine, and the sockets they opened."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.awaits = 0
        """How often any of its tasks waited so far."""
        self.ended = asyncio.Event()
        self._ends_at = ends_at
        self._transports: list[asyncio.BaseTransport] = []
        self._kept: list[object] = []

    @property
    def is_over(self) -> bool:
        return self.ended.is_set()

    def live(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run `work` as the root of this life."""
        context = copy_context()
        context.run(_LIFE.set, self)
        task: asyncio.Task[Any] = context.run(lambda: asyncio.get_running_loop().create_task(work()))
        return task

    def goes_on(self) -> bool:
        """Count one more await; False after the last."""
        self.awaits += 1
        if self.awaits == self._ends_at:
            self.end()
        return not self.is_over

    def end(self) -> None:
        self.ended.set()
        for transport in self._transports:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        _GRAVEYARD.append(self)

    def opened(self, transport: asyncio.BaseTransport) -> None:
        self._transports.append(transport)

    def never(self) -> asyncio.Future[None]:
        """What a task of an ended life waits for."""
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing._asyncio_future_blocking = True
        self._kept.append(nothing)
        return nothing

    def keep(self, thing: object) -> None:
        self._kept.append(thing)


_LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
_GRAVEYARD: list[Life] = []


class _Mortal(Coroutine[Any, Any, Any]):
    """A task's coroutine that counts its waits and stands still once its life is over."""

    def __init__(self, inner: Coroutine[Any, Any, Any], life: Life) -> None:
        self._inner = inner
        self._life = life
        life.keep(inner)

    def send(self, value: Any) -> Any:
        return self._step(lambda: self._inner.send(value))

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        error = kind if isinstance(kind, BaseException) else value
        assert isinstance(error, BaseException)
        return self._step(lambda: self._inner.throw(error))

    def _step(self, step: Callable[[], Any]) -> Any:
        if self._life.is_over:
            return self._life.never()
        waits_for = step()
        return waits_for if self._life.goes_on() else self._life.never()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def close(self) -> None:
        """Nothing: the dead do not clean up."""


class MortalLoop(asyncio.SelectorEventLoop):
    """An event loop in which tasks belong to the life that they descend from, if to any."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(_new_task)

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        made = await super().create_connection(*args, **options)
        life = _LIFE.get()
        if life is not None:
            life.opened(made[0])
        return made


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, context: Any = None) -> asyncio.Future[Any]:
    life = _LIFE.get()
    if life is None:
        return asyncio.Task(coroutine, loop=loop, context=context)
    task = asyncio.Task(_Mortal(coroutine, life), loop=loop, context=context)
    life.keep(task)
    return task
