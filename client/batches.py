"""Many tasks at once: how they are packed without holding up the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from outrider.client.new_task import NewTask, Packed, pack

PACKED_AT_ONCE = 256


async def pack_all(tasks: Iterable[NewTask | tuple[str, Any]], wall_at: float, largest: int) -> list[Packed]:
    """The envelopes of many tasks. Raises what `pack` raises for the first that makes no sense."""
    packed = []
    for number, task in enumerate(tasks):
        packed.append(pack(task if isinstance(task, NewTask) else NewTask(*task), wall_at, largest))
        if number % PACKED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return packed
