"""The client's calls about limits. Knows only who asks the orchestrator."""

from __future__ import annotations

from outrider.broker.limits import ANY, Limit, LimitName, LimitsRequest, LimitView
from outrider.client.asking import Asker


class LimitCalls:
    """Set, see and take back limits. Every method raises NobodyAnswers."""

    _asker: Asker

    async def limits(self) -> tuple[LimitView, ...]:
        """Limits in force and how they stand."""
        return (await self._asker.limits(LimitsRequest())).limits

    async def set_limit(
        self,
        kind: str = ANY,
        key: str = "",
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per_s: float = 1.0,
        tokens_per_minute: int | None = None,
    ) -> tuple[LimitView, ...]:
        """Put a limit in force, instead of the one that has this kind and key; returns all limits.

        Kind `*` is all kinds together. `key` is "" for all tasks of the kind, a limit key, or a pattern
        (`*`, `acme-*`) for each key that fits. Raises InvalidName, InvalidLimit, Refused.
        """
        limit = Limit(kind, key, concurrency, rate, per_s, tokens_per_minute).check()
        return (await self._asker.limits(LimitsRequest(set=limit))).limits

    async def remove_limit(self, kind: str = ANY, key: str = "") -> tuple[LimitView, ...]:
        """Take a limit back; returns those that are left. Raises InvalidName."""
        return (await self._asker.limits(LimitsRequest(remove=LimitName(kind, key)))).limits
