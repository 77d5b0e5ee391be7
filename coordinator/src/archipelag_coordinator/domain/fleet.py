"""The fleet as one Coordinator sees it: Islands from their heartbeats, and what it has given them since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from archipelag_contracts.ids import Epoch, IslandId, JobId

from archipelag_coordinator.domain.island import Island, Offer
from archipelag_coordinator.domain.placement import Candidate

AttemptKey = tuple[JobId, Epoch]


@dataclass
class Berth:
    """One Island with the attempts that occupy its slots."""

    island: Island
    held: set[AttemptKey] = field(default_factory=set)
    """As the last heartbeat said."""
    given: set[AttemptKey] = field(default_factory=set)
    """Assigned by this process and not yet ended."""
    ended: set[AttemptKey] = field(default_factory=set)
    """Ended here while the last heartbeat still named them."""
    doubted_at: datetime | None = None
    """It gave no sign of life when one was due."""

    @property
    def in_doubt(self) -> bool:
        """Not heard from since; its next heartbeat settles that, whichever Coordinator hears it."""
        return self.doubted_at is not None and _seen(self.island) <= _stamp(self.doubted_at)

    def busy(self) -> int:
        return len((self.held - self.ended) | self.given)


class Fleet:
    """A snapshot that placement works on. Wrong for a moment is fine: the Island's own admission settles conflicts."""

    def __init__(self) -> None:
        self._berths: dict[IslandId, Berth] = {}
        self._beats: dict[IslandId, Island] = {}

    def __len__(self) -> int:
        return len(self._berths)

    def saw(self, island: Island, held: Iterable[AttemptKey]) -> None:
        """A heartbeat came in here."""
        berth = self._berths.setdefault(island.id, Berth(island))
        berth.island = island
        berth.held = set(held)
        berth.ended &= berth.held
        self._beats[island.id] = island

    def take_beats(self) -> list[Island]:
        """Islands heard from since the last call, to be saved together."""
        beats = list(self._beats.values())
        self._beats.clear()
        return beats

    def put_back(self, beats: Iterable[Island]) -> None:
        """They could not be saved; what has been heard since is newer."""
        for island in beats:
            self._beats.setdefault(island.id, island)

    def load(self, islands: Iterable[Island]) -> None:
        """Takes over what PostgreSQL says where it is newer than what this process has heard itself."""
        for island in islands:
            berth = self._berths.get(island.id)
            if berth is None:
                self._berths[island.id] = Berth(island)
            elif _seen(island) >= _seen(berth.island):
                berth.island = island
            elif _standing(island) != _standing(berth.island):
                # An operator's word is newer than any heartbeat, be it to cut off or to restore.
                berth.island = replace(berth.island, status=island.status, approved=island.approved)

    def assigned(self, island: IslandId, key: AttemptKey) -> None:
        if (berth := self._berths.get(island)) is not None:
            berth.given.add(key)

    def freed(self, island: IslandId, key: AttemptKey) -> None:
        if (berth := self._berths.get(island)) is not None:
            berth.given.discard(key)
            if key in berth.held:
                berth.ended.add(key)

    def handed_on(self, island: IslandId, key: AttemptKey) -> None:
        """Another Coordinator decides on this attempt by now; the Island's heartbeats tell whether it runs."""
        if (berth := self._berths.get(island)) is not None:
            berth.given.discard(key)

    def doubt(self, island: IslandId, now: datetime) -> None:
        """It was silent, or did not answer: no work for it until it is heard."""
        if (berth := self._berths.get(island)) is not None:
            berth.doubted_at = now

    def forget(self, island: IslandId) -> None:
        self._berths.pop(island, None)

    def get(self, island: IslandId) -> Island | None:
        berth = self._berths.get(island)
        return berth.island if berth else None

    def islands(self) -> list[Island]:
        return [berth.island for berth in self._berths.values()]

    def busy(self, island: IslandId) -> int:
        berth = self._berths.get(island)
        return berth.busy() if berth else 0

    def candidates(self, slug: str, digest: str) -> list[Candidate]:
        """Every Island as a candidate for this Cargo; the right version where it offers several."""
        return list(self.each(slug, digest))

    def each(self, slug: str, digest: str) -> Iterator[Candidate]:
        """The same one after the other, for who may need only the first."""
        return (_candidate(berth, slug, digest) for berth in self._berths.values())


def _candidate(berth: Berth, slug: str, digest: str) -> Candidate:
    island = berth.island
    offers = [offer for offer in island.offers if offer.slug == slug]
    offer = next((o for o in offers if o.digest == digest), offers[0] if offers else None)
    slots = min(island.slots, offer.slots) if offer else island.slots
    shown = offer or Offer(slug, "", "absent")
    return Candidate(
        island_id=island.id,
        name=island.name,
        status=island.status.value,
        approved=island.approved,
        digest=offer.digest if offer else None,
        state=shown.state,
        reason=shown.reason,
        slots_free=max(0, slots - berth.busy()),
        slots=slots,
        items_per_s=shown.items_per_s,
        startable=shown.startable,
        start_ms=shown.start_ms,
        first_item_ms=shown.first_item_ms,
        prompt_tokens_per_s=shown.prompt_tokens_per_s,
        determinism_class=shown.determinism_class,
        broker_rtt_ms=island.broker_rtt_ms,
        load=island.load,
        in_doubt=berth.in_doubt,
    )


def _standing(island: Island) -> tuple[bool, bool]:
    return island.may_connect, island.approved


def _seen(island: Island) -> float:
    return _stamp(island.seen_at)


def _stamp(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0
