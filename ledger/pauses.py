"""Which kinds are paused, as a fold of what operators said. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from outrider.ledger.control import Control


@dataclass(slots=True)
class Pauses:
    """Which kinds are paused: a fold that does not depend on the order in which entries arrive."""

    fleet: tuple[int, bool] = (0, False)
    """Sequence of the newest word about the whole fleet, and whether it is a pause."""
    kinds: dict[str, tuple[int, bool]] = field(default_factory=dict)

    def apply(self, seq: int, control: Control) -> None:
        """Fold one entry; an older one than is known changes nothing."""
        said = (seq, control.type == "paused")
        if not control.kind:
            self.fleet = max(self.fleet, said)
        else:
            self.kinds[control.kind] = max(self.kinds.get(control.kind, (0, False)), said)

    @property
    def was_used(self) -> bool:
        """Whether anything was ever said, so that nobody need ask for each task."""
        return self.fleet[0] > 0 or bool(self.kinds)

    @property
    def is_fleet_paused(self) -> bool:
        return self.fleet[1]

    @property
    def paused_kinds(self) -> tuple[str, ...]:
        """Kinds with a pause of their own. Resuming the fleet resumes them too."""
        resumed_at = 0 if self.fleet[1] else self.fleet[0]
        return tuple(
            sorted(k for k, (seq, is_paused) in self.kinds.items() if is_paused and seq > resumed_at)
        )

    def covers(self, kind: str) -> bool:
        """Whether tasks of this kind wait."""
        if self.fleet[1]:
            return True
        seq, is_paused = self.kinds.get(kind, (0, False))
        return is_paused and seq > self.fleet[0]
