"""How long a job waits for a slot, as far as can be told: what is before it, over what ends in a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from archipelag_contracts.ids import CargoDigest

from archipelag_coordinator.domain.lines import Ahead

NEWS_S: Final = 2.0
"""A wait that has changed by less is no news."""


@dataclass
class Rooms:
    """Slots of the Islands that could run each Cargo, and how far Cargos share them."""

    slots: dict[str, int] = field(default_factory=dict)
    free: dict[str, int] = field(default_factory=dict)
    _shared: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, slots: Mapping[CargoDigest, int], busy: int) -> None:
        """One Island, with the slots that it has for each Cargo, `busy` of which are taken by whichever."""
        for digest, count in slots.items():
            self.slots[digest] = self.slots.get(digest, 0) + count
            self.free[digest] = self.free.get(digest, 0) + max(0, count - busy)
            for other, theirs in slots.items():
                pair = (digest, other)
                self._shared[pair] = self._shared.get(pair, 0) + min(count, theirs)

    def share(self, other: str, digest: str) -> float:
        """Which part of what `other` gets is taken from the slots of `digest`."""
        theirs = self.slots.get(other, 0)
        return self._shared.get((digest, other), 0) / theirs if theirs else 0.0


@dataclass(frozen=True)
class Wait:
    """`ahead`: jobs that have a slot before it; `seconds`: until it has one, None where nothing tells."""

    ahead: int
    seconds: float | None

    def is_news_after(self, told: Wait | None) -> bool:
        """Whether whoever was told that is to be told this."""
        if told is None or told.ahead != self.ahead or told.seconds is None or self.seconds is None:
            return told != self
        return abs(told.seconds - self.seconds) >= NEWS_S


def expected(
    digest: CargoDigest,
    ahead: Ahead,
    rooms: Rooms,
    held_s: Callable[[str], float | None],
) -> Wait:
    """`held_s`: for how long a job of a Cargo holds its slot on average, None where that is not known.

    With as many slots as Islands give this Cargo and all of them held, so many jobs end in the time for which one is
    held; a job's turn comes when all that are ahead have got theirs and one more has ended.
    """
    parts = [(float(ahead.own), digest)]
    parts += [(rooms.share(other, digest) * count, other) for other, count in ahead.others.items()]
    jobs = sum(count for count, _ in parts)
    slots = rooms.slots.get(digest, 0)
    own_s = held_s(digest)
    if not slots or own_s is None:
        return Wait(round(jobs), None)
    to_end = jobs + 1 - rooms.free.get(digest, 0)
    if to_end <= 0:
        return Wait(round(jobs), 0.0)
    work_s = own_s + sum(count * _or(held_s(other), own_s) for count, other in parts)
    return Wait(round(jobs), to_end * work_s / (jobs + 1) / slots)


def _or(known: float | None, otherwise: float) -> float:
    return otherwise if known is None else known
