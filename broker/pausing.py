"""Messages about pauses: what shall be paused or resumed, and what is paused now.

Pure: only shapes and their own consistency.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.errors import InvalidTask
from outrider.broker.messages import VERSION
from outrider.broker.subjects import check_name


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """One kind or the whole fleet: body of `<fleet>.pause` and `.resume`."""

    kind: str = ""
    all: bool = False
    reason: str = ""
    v: int = VERSION

    def check(self) -> PauseRequest:
        """The request itself when it names exactly one thing. Raises InvalidName or InvalidTask."""
        if self.all == bool(self.kind):
            raise InvalidTask("what shall be paused or resumed?", hint='give a kind, or "all": true')
        if self.kind:
            check_name(self.kind, "kind")
        return self


@dataclass(frozen=True, slots=True)
class PauseState:
    """Answer to `<fleet>.pause` and `.resume`: all that is paused now."""

    all: bool
    kinds: tuple[str, ...] = ()
    v: int = VERSION
