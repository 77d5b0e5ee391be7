"""A berth: one Island with what takes its slots, as far as one Coordinator knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.island import Island


@dataclass(frozen=True)
class Room:
    """Slots that an Island said are free: whatever the Cargo, and of them those for the Cargo of the assignment."""

    slots_free: int
    cargo_slots_free: int


FULL: Final = Room(0, 0)


@dataclass
class Berth:
    """Attempts of this process are known by name; those of others by the last heartbeat that came in here, or only by
    their number, from an answer to an assignment."""

    island: Island
    held: set[AttemptKey] = field(default_factory=set)
    """As the last heartbeat said."""
    given: set[AttemptKey] = field(default_factory=set)
    """Assigned by this process and not yet ended."""
    asked: set[AttemptKey] = field(default_factory=set)
    """Of these, those that the Island has not answered yet, and does not count."""
    ended: set[AttemptKey] = field(default_factory=set)
    """Ended here while the last heartbeat still named them."""
    more: int = 0
    """So many more slots are taken than are known by name; below zero, fewer."""
    may_try: bool = False
    """What others hold there was told too long ago to be certain of: one job may try."""
    doubted_at: datetime | None = None
    """It gave no sign of life when one was due."""
    standing: str = ""
    """The rule that keeps it from any Cargo; empty where none does."""
    seen: float = 0.0
    """When it was last heard, in seconds since 1970."""
    told: float = 0.0
    """When it last said what runs there, in seconds since 1970."""

    @property
    def in_doubt(self) -> bool:
        """Not heard from since; its next heartbeat settles that, whichever Coordinator hears it."""
        return self.doubted_at is not None and self.seen <= self.doubted_at.timestamp()

    @property
    def full_of_others(self) -> bool:
        """For some Cargo at least it has no slot, and would have one if others' attempts ended."""
        offers = self.island.offers
        least = min((o.slots for o in offers if o.can_run), default=self.island.slots)
        slots = min(least, self.island.slots)
        return self.busy() >= slots > len(self.given)

    def running(self) -> set[AttemptKey]:
        """By name."""
        return (self.held - self.ended) | self.given

    def busy(self) -> int:
        """Slots that are taken, named or not."""
        return max(len(self.given), len(self.running()) + self.more)

    def free(self, slots: int) -> int:
        """Of so many, those that a job could have."""
        free = slots - self.busy()
        if free <= 0 and self.may_try and len(self.given) < slots:
            return 1
        return max(0, free)

    def beat(self, island: Island, held: set[AttemptKey]) -> None:
        """A heartbeat came in here: it names all that runs there."""
        self.island = island
        self.held = held
        self.ended &= held
        self._is_told(0, island.seen_at)

    def said(self, room: Room, slots: int, now: datetime) -> None:
        """By its answer to an assignment of a Cargo that has so many slots there. What it does not say, it lies for
        itself: this process goes by its own count where that is higher."""
        busy = self.island.slots - min(room.slots_free, self.island.slots)
        if room.cargo_slots_free == 0:
            busy = max(busy, slots)
        self._is_told(busy - len(self.running() - self.asked), now)

    def _is_told(self, more: int, at: datetime | None) -> None:
        self.more = more
        self.may_try = False
        self.told = at.timestamp() if at else 0.0
