"""The fleet as one Coordinator sees it: Islands from their heartbeats, and what it has given them since."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final

from archipelag_contracts.ids import CargoDigest, IslandId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.berth import FULL, Berth, Room
from archipelag_coordinator.domain.foresight import Foresight
from archipelag_coordinator.domain.island import Glance, Island, IslandStatus, Offer, may_connect
from archipelag_coordinator.domain.looking import LOOKED_MAX, look
from archipelag_coordinator.domain.placement import (
    Candidate,
    Placement,
    Wanted,
    choose,
    first_refusal,
    is_approved,
    is_in_reach,
    is_ready,
    place,
    was_heard_since,
)
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.remembered import Reliance, Remembered
from archipelag_coordinator.domain.second_tries import TOLD_S, SecondTries
from archipelag_coordinator.domain.shelf import Shelf
from archipelag_coordinator.domain.waits import Rooms

SHELVES_MAX: Final = 64
"""Cargos whose Islands are kept in order; what was not asked for the longest is dropped."""

REGION_MOVED: Final = 0.2
REGION_MOVED_MS: Final = 2.0
"""A region's Islands are put in order anew when the way to it has changed by a fifth, and by more than this."""

REMEMBERING_MAX: Final = 4
"""Islands that hold a beginning of a job's prompt and are compared for it, beside those that looking finds."""
HOLDERS_LOOKED_MAX: Final = 16
"""Among so many they are sought: some may be full or gone."""


class Fleet:
    """A snapshot that placement works on. Wrong for a moment is fine: the Island's own admission settles conflicts.

    A small fleet is looked at whole. In a large one, a shelf is kept for each Cargo that is asked for.
    """

    def __init__(self, looked_max: int = LOOKED_MAX) -> None:
        self._looked_max = looked_max
        self._berths: dict[IslandId, Berth] = {}
        self._beats: dict[IslandId, Island] = {}
        self._standing: Counter[str] = Counter()
        self._foresight = Foresight()
        self._remembered = Remembered()
        self._reliance = Reliance()
        self._regions: dict[str, float | None] = {}
        self._second_tries = SecondTries()
        self._shelves: OrderedDict[tuple[str, str, Price | None], Shelf] = OrderedDict()

    def __len__(self) -> int:
        return len(self._berths)

    def saw(self, island: Island, held: Iterable[AttemptKey]) -> None:
        """A heartbeat came in here."""
        berth = self._berths.get(island.id) or self._enter(island)
        berth.beat(island, set(held))
        self._beats[island.id] = island
        self._hear(berth)
        self._changed(berth)

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
                entered = self._enter(island)
                self._hear(entered)
                self._changed(entered)
                continue
            # Heartbeats bring none, and what was read before a change may be loaded after it.
            wishes = max(berth.island.wishes, island.wishes, key=lambda one: one.version)
            if _stamp(island.seen_at) >= berth.seen:
                berth.island = island
                if _stamp(island.seen_at) > berth.seen:
                    self._hear(berth)
            elif _standing(island) != _standing(berth.island):
                # An operator's word is newer than any heartbeat, be it to cut off or to restore.
                berth.island = replace(berth.island, status=island.status, approved=island.approved)
            elif wishes is berth.island.wishes:
                continue
            if berth.island.wishes.version < wishes.version:
                berth.island = replace(berth.island, wishes=wishes)
            self._changed(berth)

    def behind(self, glances: Iterable[Glance]) -> list[IslandId]:
        """Islands of which PostgreSQL says something newer than what is known here."""
        return [one.id for one in glances if self._is_behind(one)]

    def _is_behind(self, stored: Glance) -> bool:
        berth = self._berths.get(stored.id)
        if berth is None or stored.seen_at > berth.seen:
            return True
        island = berth.island
        if stored.seen_at == berth.seen and stored.status != island.status.value:
            return True
        if stored.wishes_version > island.wishes.version:
            return True
        return (may_connect(stored.status), stored.approved) != _standing(island)

    def assigned(self, island: IslandId, key: AttemptKey) -> None:
        """It is about to be asked to take this, and is then to be heard of by `answered` or `freed`."""
        if (berth := self._berths.get(island)) is not None:
            berth.given.add(key)
            berth.asked.add(key)
            berth.may_try = False
            self._changed(berth)

    def answered(self, island: IslandId, key: AttemptKey) -> None:
        """It took what it was asked to."""
        if (berth := self._berths.get(island)) is not None:
            berth.asked.discard(key)
            self._try_again_later(berth)

    def said(
        self, island: IslandId, slug: str, digest: str, room: Room | None, now: datetime
    ) -> None:
        """What an answer to an assignment of this Cargo says of free slots; None: that there is none."""
        if (berth := self._berths.get(island)) is not None:
            berth.said(room or FULL, self._candidate(berth, slug, digest).slots, now)
            self._changed(berth)

    def look_again(self, now: datetime) -> None:
        """Lets a job try Islands that others have filled, where that was told a while ago: whose slots have become
        free, only they would say."""
        for island in self._second_tries.due(_stamp(now)):
            berth = self._berths.get(island)
            if berth is None or not berth.full_of_others:
                continue
            berth.may_try = berth.told + TOLD_S <= _stamp(now)
            self._changed(berth)

    def freed(self, island: IslandId, key: AttemptKey) -> None:
        if (berth := self._berths.get(island)) is not None:
            berth.given.discard(key)
            berth.asked.discard(key)
            if key in berth.held:
                berth.ended.add(key)
            self._changed(berth)

    def accepted(self, island: IslandId, key: AttemptKey, prefixes: Iterable[Prefix]) -> None:
        """It took a job whose prompt begins so, and is taken to hold that until its word on it."""
        if island in self._berths:
            self._remembered.gave(island, key, [prefix.name for prefix in prefixes])

    def handed_on(self, island: IslandId, key: AttemptKey) -> None:
        """Another Coordinator decides on this attempt by now; the Island's heartbeats tell whether it runs."""
        if (berth := self._berths.get(island)) is not None:
            berth.given.discard(key)
            berth.asked.discard(key)
            self._changed(berth)

    def doubt(self, island: IslandId, now: datetime) -> None:
        """It was silent, or did not answer: no work for it until it is heard."""
        if (berth := self._berths.get(island)) is not None:
            berth.doubted_at = now
            self._changed(berth)

    def forget(self, island: IslandId) -> None:
        berth = self._berths.pop(island, None)
        if berth is None:
            return
        self._standing[berth.standing] -= 1
        self._remembered.forget(island)
        for shelf in self._shelves.values():
            shelf.drop(island)

    def get(self, island: IslandId) -> Island | None:
        berth = self._berths.get(island)
        return berth.island if berth else None

    @property
    def regions_ms(self) -> Mapping[str, float | None]:
        """Round trips to other regions, as `see_regions` was last told."""
        return self._regions

    @property
    def reaches_all(self) -> bool:
        """False while another region stands that the broker does not reach."""
        return None not in self._regions.values()

    def see_regions(self, round_trips_ms: Mapping[str, float | None]) -> None:
        """How far other regions are from here by the broker; None: out of reach. One of which nothing is said has no
        Coordinator now: it is as far as it was."""
        before = self._regions
        reached = {region: ms for region, ms in before.items() if ms is not None}
        self._regions = {**reached, **round_trips_ms}
        moved = {
            region
            for region in self._regions.keys() | before.keys()
            if _moved(before.get(region, 0.0), self._regions.get(region, 0.0))
        }
        if moved:
            for berth in self._berths.values():
                if berth.island.region in moved:
                    self._changed(berth)

    def islands(self) -> list[Island]:
        return [berth.island for berth in self._berths.values()]

    def busy(self, island: IslandId) -> int:
        berth = self._berths.get(island)
        return berth.busy() if berth else 0

    def candidate(self, island: IslandId, slug: str, digest: str) -> Candidate | None:
        """One of `candidates`; None where it was not heard of."""
        berth = self._berths.get(island)
        return self._candidate(berth, slug, digest) if berth else None

    def room(self, island: IslandId) -> int:
        """Slots that a job could have there now, whatever its Cargo."""
        berth = self._berths.get(island)
        if berth is None or berth.standing:
            return 0
        return max(0, berth.island.slots - berth.busy())

    def rooms(self, prices: Mapping[CargoDigest, Price]) -> Rooms:
        """Slots for each of these Cargos, on Islands where a job of it could begin if one is free."""
        found = Rooms()
        for berth in self._berths.values():
            if not berth.standing and (slots := _slots(berth.island, prices)):
                found.add(slots, berth.busy())
        return found

    def candidates(self, slug: str, digest: str) -> list[Candidate]:
        """Every Island as a candidate for this Cargo; the right version where it offers several."""
        return list(self.each(slug, digest))

    def each(self, slug: str, digest: str) -> Iterator[Candidate]:
        """The same one after the other, for who may need only the first."""
        return (self._candidate(berth, slug, digest) for berth in self._berths.values())

    def took(self, island: IslandId, slug: str, reckoned_ms: float, took_ms: float) -> None:
        """An Island's first item came so long after it was given the job."""
        self._foresight.learn(island, slug, reckoned_ms, took_ms)
        if (berth := self._berths.get(island)) is not None:
            self._changed(berth)

    def kept(self, island: IslandId, slug: str, share: float) -> None:
        """Of what an Island was taken to hold of a prompt, this share was not read again."""
        self._reliance.saw(island, slug, share)

    def _hear(self, berth: Berth) -> None:
        names = [name for offer in berth.island.offers for name in offer.prefixes]
        self._remembered.told(berth.island.id, names, berth.running())

    def _candidate(self, berth: Berth, slug: str, digest: str) -> Candidate:
        factor = self._foresight.factor(berth.island.id, slug)
        return _candidate(berth, slug, digest, factor, self._regions.get(berth.island.region, 0.0))

    def choose(self, wanted: Wanted, chance: float) -> Placement:
        """An Island for a job. `chance` is uniform in [0, 1). Raises NoPlacement."""
        if len(self) <= self._looked_max:
            return place(wanted, self.scan(wanted, chance), chance)
        shelf = self._shelf(wanted.slug, wanted.digest, wanted.price)
        looked = look(
            shelf,
            wanted,
            chance,
            asked=len(self),
            standing={rule: count for rule, count in self._standing.items() if rule},
            others=(
                self._candidate(berth, wanted.slug, wanted.digest)
                for berth in self._berths.values()
                if berth.island.id not in shelf.entries
            ),
            remembering=self._remembering(wanted, chance),
            looked_max=self._looked_max,
        )
        return choose(wanted, looked, another_chance(chance))

    def scan(self, wanted: Wanted, chance: float) -> list[Candidate]:
        """Every Island as a candidate for this job."""
        known = {island.island_id: island for island in self._remembering(wanted, chance)}
        every = self.candidates(wanted.slug, wanted.digest)
        return [known.get(island.island_id, island) for island in every] if known else every

    def _remembering(self, wanted: Wanted, chance: float) -> list[Candidate]:
        """Some of those that could take it and hold the longest beginnings of its prompt."""
        found: list[Candidate] = []
        holders = self._remembered.holders(wanted.prefixes, chance) if wanted.prefixes else ()
        for island, prefix in islice(holders, HOLDERS_LOOKED_MAX):
            one = self._candidate(self._berths[island], wanted.slug, wanted.digest)
            if first_refusal(wanted, one) is None:
                held = min(prefix.tokens, wanted.prompt_tokens)
                part = int(held * self._reliance.on(island, wanted.slug))
                found.append(replace(one, held_tokens=held, remembered_tokens=part))
                if len(found) == REMEMBERING_MAX:
                    break
        return found

    def _shelf(self, slug: str, digest: str, price: Price | None) -> Shelf:
        """The first time, it is filled from the whole fleet."""
        key = (slug, digest, price)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf(slug, digest, price)
            for berth in self._berths.values():
                self._put(shelf, berth)
            if len(self._shelves) > SHELVES_MAX:
                self._shelves.popitem(last=False)
        self._shelves.move_to_end(key)
        return shelf

    def _enter(self, island: Island) -> Berth:
        berth = self._berths[island.id] = Berth(island)
        self._standing[berth.standing] += 1
        return berth

    def _changed(self, berth: Berth) -> None:
        berth.seen = _stamp(berth.island.seen_at)
        self._standing[berth.standing] -= 1
        berth.standing = _standing_of(berth, self._regions.get(berth.island.region, 0.0))
        self._standing[berth.standing] += 1
        self._try_again_later(berth)
        for shelf in self._shelves.values():
            self._put(shelf, berth)

    def _try_again_later(self, berth: Berth) -> None:
        """Not while it is asked: it is about to say how it stands."""
        if berth.full_of_others and not berth.asked and not berth.may_try:
            self._second_tries.put(berth.island.id, berth.told)

    def _put(self, shelf: Shelf, berth: Berth) -> None:
        if any(offer.slug == shelf.slug for offer in berth.island.offers):
            shelf.put(self._candidate(berth, shelf.slug, shelf.digest))
        else:
            shelf.drop(berth.island.id)


def _moved(before_ms: float | None, after_ms: float | None) -> bool:
    """By so much that it matters to a choice."""
    if before_ms is None or after_ms is None:
        return before_ms is not after_ms
    return abs(after_ms - before_ms) > max(REGION_MOVED_MS, REGION_MOVED * before_ms)


def _standing_of(berth: Berth, region_rtt_ms: float | None) -> str:
    island = berth.island
    if not island.approved:
        return is_approved.__name__
    if island.standing is not IslandStatus.READY:
        return is_ready.__name__
    if berth.in_doubt:
        return was_heard_since.__name__
    return is_in_reach.__name__ if region_rtt_ms is None else ""


def another_chance(chance: float) -> float:
    """Uniform again, and not the same: the digits that the first use of it did not need."""
    return chance * 7919 % 1.0


def _candidate(
    berth: Berth, slug: str, digest: str, factor: float, region_rtt_ms: float | None
) -> Candidate:
    island = berth.island
    offers = [offer for offer in island.offers if offer.slug == slug]
    offer = next((o for o in offers if o.digest == digest), offers[0] if offers else None)
    slots = min(island.slots, offer.slots) if offer else island.slots
    shown = offer or Offer(slug, "", "absent")
    return Candidate(
        island_id=island.id,
        name=island.name,
        status=island.standing.value,
        approved=island.approved,
        digest=offer.digest if offer else None,
        state=shown.state,
        reason=shown.reason,
        slots_free=berth.free(slots),
        slots=slots,
        items_per_s=shown.items_per_s,
        startable=shown.startable,
        start_ms=shown.start_ms,
        first_item_ms=shown.first_item_ms,
        prompt_tokens_per_s=shown.prompt_tokens_per_s,
        determinism_class=shown.determinism_class,
        broker_rtt_ms=island.broker_rtt_ms,
        region=island.region,
        region_rtt_ms=region_rtt_ms,
        load=island.load,
        in_doubt=berth.in_doubt,
        wishes=island.wishes,
        first_item_factor=factor,
    )


def _slots(island: Island, prices: Mapping[CargoDigest, Price]) -> dict[CargoDigest, int]:
    wishes = island.wishes
    return {
        digest: min(island.slots, offer.slots)
        for offer in island.offers
        if (digest := CargoDigest(offer.digest)) in prices
        and offer.can_run
        and not wishes.refuse(offer.slug, prices[digest])
    }


def _standing(island: Island) -> tuple[bool, bool]:
    return island.may_connect, island.approved


def _stamp(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0
