"""What everybody who answers operators works with. Holds nothing of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from outrider.broker.clock import Clock
from outrider.broker.codec import encode
from outrider.broker.pipeline import Appender
from outrider.broker.subjects import Subjects
from outrider.ledger.control import Control
from outrider.orchestrator import events
from outrider.orchestrator.core import Core


@dataclass(frozen=True, slots=True)
class Desk:
    """The fleet's names, the core, the way into the ledger, the time."""

    subjects: Subjects
    core: Core
    appender: Appender
    clock: Clock
    post: Callable[[events.Event], None]

    async def record(self, control: Control, control_id: str, headers: dict[str, str] | None = None) -> int:
        """Store an operator's decision. Raises WrongSequence, OutcomeUnknown or QueueFull."""
        return await self.appender.append(self.subjects.control(control_id), encode(control), headers)
