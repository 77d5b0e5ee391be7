"""A shelf: the Islands that offer one Cargo, kept in order as they change, so that placement need not look at all."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from archipelag_contracts.ids import IslandId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.placement import (
    NEAR_EQUAL,
    NEAR_WEIGHT,
    Candidate,
    Wanted,
    first_refusal,
    prefers_near_and_fast,
    score,
)

STEPS: Final = 80
"""An order keeps Islands in bins as wide as a quarter of what counts as equal."""
ORDERS_MAX: Final = 32
"""Orders of one shelf that are kept; what was not asked for the longest is dropped, and made anew when asked for."""
# An Island's score falls with the length of the prompt. Within a step of this ladder it falls by less than what
# counts as equal, so that an order made for the step's lower end is a close upper bound for all lengths in it.
PROMPTS: Final = (0, *(int(16 * 1.5**n) for n in range(24)))

Place = tuple[int, int]
"""A bin, and where in it."""
OrderKey = tuple[int, str]
"""The shortest prompt it is for, and the determinism class of all that are in it; empty: of any."""


@dataclass
class Entry:
    """One Island on the shelf, as it was when it last changed."""

    candidate: Candidate
    refusal: str | None
    """The rule that keeps it from any job at all."""
    points: float = 0.0
    """Of its score, what does not depend on the job."""
    places: dict[OrderKey, Place] = field(default_factory=dict)


class Order:
    """Guards the bins of those that could take a job, by their score for one length of prompt."""

    def __init__(self, key: OrderKey, slug: str, digest: str) -> None:
        self.key = key
        self.bins: list[list[Entry]] = [[] for _ in range(STEPS + 1)]
        self._wanted = Wanted(slug, digest, prompt_tokens=key[0], output_items=0)

    def put(self, entry: Entry) -> None:
        key_class = self.key[1]
        island = entry.candidate
        if entry.refusal is not None or key_class not in ("", island.determinism_class):
            self.drop(entry)
            return
        near = NEAR_WEIGHT * prefers_near_and_fast(self._wanted, island)
        number = min(STEPS, int((entry.points + near) * STEPS))
        at = entry.places.get(self.key)
        if at is not None and at[0] == number:
            return
        self.drop(entry)
        entry.places[self.key] = (number, len(self.bins[number]))
        self.bins[number].append(entry)

    def drop(self, entry: Entry) -> None:
        at = entry.places.pop(self.key, None)
        if at is None:
            return
        number, index = at
        last = self.bins[number].pop()
        if last is not entry:
            self.bins[number][index] = last
            last.places[self.key] = at

    def best_first(self, chance: float) -> Iterator[tuple[Entry, float]]:
        """Each entry with an upper bound for it and all that follow. Within a bin, it begins somewhere by chance."""
        for number in range(STEPS, -1, -1):
            found = self.bins[number]
            begin = int(chance * len(found))
            bound = (number + 1) / STEPS
            for index in range(len(found)):
                yield found[(begin + index) % len(found)], bound


class Shelf:
    """Guards the entries of one version of a Cargo at its price, their orders, and how many each rule keeps out."""

    def __init__(self, slug: str, digest: str, price: Price | None = None) -> None:
        self.slug = slug
        self.digest = digest
        self.entries: dict[IslandId, Entry] = {}
        self.refusals: Counter[tuple[str | None, str]] = Counter()
        """Entries by the rule that keeps them out, None where none does, and by class."""
        self._orders: OrderedDict[OrderKey, Order] = OrderedDict()
        self._wanted = Wanted(slug, digest, prompt_tokens=0, output_items=0, price=price)

    def put(self, island: Candidate) -> None:
        refusal = first_refusal(self._wanted, island)
        entry = self.entries.get(island.island_id)
        if entry is None:
            entry = self.entries[island.island_id] = Entry(island, None)
        else:
            self._count(entry, -1)
        entry.candidate = island
        entry.refusal = refusal[0] if refusal else None
        near = NEAR_WEIGHT * prefers_near_and_fast(self._wanted, island)
        entry.points = score(self._wanted, island) - near
        self._count(entry, 1)
        for order in self._orders.values():
            order.put(entry)

    def drop(self, island_id: IslandId) -> None:
        entry = self.entries.pop(island_id, None)
        if entry is None:
            return
        self._count(entry, -1)
        for order in self._orders.values():
            order.drop(entry)

    def order(self, prompt_tokens: int, determinism_class: str = "") -> Order:
        """For prompts of this length or more. The first time, it is made of all entries."""
        key = (step_of(prompt_tokens), determinism_class)
        order = self._orders.get(key)
        if order is None:
            order = self._orders[key] = Order(key, self.slug, self.digest)
            for entry in self.entries.values():
                order.put(entry)
            if len(self._orders) > ORDERS_MAX:
                _, oldest = self._orders.popitem(last=False)
                for entry in self.entries.values():
                    entry.places.pop(oldest.key, None)
        self._orders.move_to_end(key)
        return order

    def _count(self, entry: Entry, by: int) -> None:
        key = (entry.refusal, entry.candidate.determinism_class)
        self.refusals[key] += by
        if not self.refusals[key]:
            del self.refusals[key]


def step_of(prompt_tokens: int) -> int:
    """The lower end of the step that a prompt's length is in."""
    for low, high in pairwise(PROMPTS):
        if prompt_tokens < high:
            return low
    return PROMPTS[-1]


assert 1 / STEPS < NEAR_EQUAL / 2
