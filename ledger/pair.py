"""Two attempts of one task at once, after `hedged`: what a story keeps of them.

Pure; who may write what stands in `rules.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from outrider.broker.messages import AttemptError
from outrider.ledger.entries import Assigned, Hedged


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """One of the two. `begun` is the epoch that its agent was given first."""

    attempt: int
    agent_id: str
    begun: int
    entry: Assigned | Hedged


@dataclass(slots=True)
class Pair:
    """Kept from the first `hedged` on until the next `assigned`, also when one of the two has ended.

    Both are one try of the task: it is charged once, when the last one ends, if any end was to be charged.
    """

    newest: int
    """Number of the newest attempt."""
    epochs: list[int]
    """Every epoch that the two may know, oldest first."""
    other: LiveAttempt | None = None
    """Beside the attempt that the story itself names; after a success the one that came too late."""
    is_charged: bool = False
    fatal: AttemptError | None = None
    """One of the two failed in a way that no further attempt can mend."""
