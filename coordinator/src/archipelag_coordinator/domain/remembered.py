"""Who could begin a conversation's next answer without reading all of it again, by their own word and by ours."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.prefixes import Prefix

NAMES_MAX: Final = 200_000
"""In all; of the Island that was not heard for the longest, all are forgotten first."""
NAMES_OF_ONE_MAX: Final = 256
"""Of one Island, whatever it says."""
HOLDERS_MAX: Final = 64
"""Islands that are known for one beginning: the newest to say so."""
GIVEN_MAX: Final = 64
"""Attempts of one Island whose prompts it is taken to keep before it has said so."""
KNOWN_MAX: Final = 50_000
"""Pairs of an Island and a Cargo of which it is known how much they had kept."""
WORD_COUNTS: Final = 2
"""An Island's word counts as so many sights."""
WEIGHT_MIN: Final = 0.1
"""Of the newest sight, however many there were before: an Island may change."""


@dataclass
class _Given:
    names: tuple[int, ...]
    ended: bool = False
    """Its Island was heard since the attempt ended: the next word counts."""


class Remembered:
    """Guards the names of beginnings that each Island holds.

    There is no clock in it: an Island says anew with each heartbeat what it holds, and one that is not heard gets no
    work. What was given to it from here counts from its acceptance until the second heartbeat after its end.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[IslandId, frozenset[int]] = OrderedDict()
        self._holders: dict[int, dict[IslandId, None]] = {}
        self._told: dict[IslandId, tuple[int, ...]] = {}
        self._given: dict[IslandId, dict[AttemptKey, _Given]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def told(self, island: IslandId, names: Sequence[int], running: Collection[AttemptKey]) -> None:
        """An Island was heard. `running`: attempts that have not ended there as far as is known."""
        if not names and island not in self._told:
            return  # It keeps nothing, and never did.
        self._told[island] = tuple(names[:NAMES_OF_ONE_MAX])
        given = self._given.get(island, {})
        for key, one in list(given.items()):
            if key in running:
                continue
            if one.ended:
                del given[key]
            one.ended = True
        self._hold(island)

    def gave(self, island: IslandId, key: AttemptKey, names: Sequence[int]) -> None:
        """It accepted a prompt that begins so. Believed of those that have ever said that they keep any."""
        if island not in self._told or not names:
            return
        given = self._given.setdefault(island, {})
        given[key] = _Given(tuple(names))
        if len(given) > GIVEN_MAX:
            del given[next(iter(given))]
        self._hold(island)

    def forget(self, island: IslandId) -> None:
        self._told.pop(island, None)
        self._given.pop(island, None)
        self._let_go(island)

    def holders(
        self, prefixes: Sequence[Prefix], chance: float
    ) -> Iterator[tuple[IslandId, Prefix]]:
        """Who holds some of it, with the longest that it holds; the longest first. Among equals, from one by chance on.
        `prefixes`: the shortest first."""
        seen: set[IslandId] = set()
        for prefix in reversed(prefixes):
            found = list(self._holders.get(prefix.name, ()))
            begin = int(chance * len(found))
            for island in (*found[begin:], *found[:begin]):
                if island not in seen:
                    seen.add(island)
                    yield island, prefix

    def _hold(self, island: IslandId) -> None:
        given = self._given.get(island, {})
        names = frozenset(self._told[island]).union(*(one.names for one in given.values()))
        before = self._held.get(island, frozenset())
        if names != before:
            for name in before - names:
                self._drop(name, island)
            for name in names - before:
                holders = self._holders.setdefault(name, {})
                holders[island] = None
                if len(holders) > HOLDERS_MAX:
                    del holders[next(iter(holders))]
            self._count += len(names) - len(before)
            self._held[island] = names
        if names:
            self._held.move_to_end(island)
        else:
            self._held.pop(island, None)
        while self._count > NAMES_MAX:
            self._let_go(next(iter(self._held)))

    def _let_go(self, island: IslandId) -> None:
        names = self._held.pop(island, frozenset())
        self._count -= len(names)
        for name in names:
            self._drop(name, island)

    def _drop(self, name: int, island: IslandId) -> None:
        holders = self._holders.get(name, {})
        holders.pop(island, None)
        if not holders:
            self._holders.pop(name, None)


class Reliance:
    """Guards how much of what an Island was taken to hold it did not have to read, for each Cargo: 0 to 1.

    One that says it holds what it does not is soon believed nothing, and gets the work that it would get anyway.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[IslandId, str], tuple[float, int]] = OrderedDict()

    def saw(self, island: IslandId, slug: str, share: float) -> None:
        """`share` of what it was taken to hold was not read again."""
        key = (island, slug)
        value, sights = self._known.pop(key, (1.0, 0))
        weight = max(WEIGHT_MIN, 1 / (1 + WORD_COUNTS + sights))
        value += weight * (min(1.0, max(0.0, share)) - value)
        self._known[key] = (value, sights + 1)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def on(self, island: IslandId, slug: str) -> float:
        """By which to multiply what it says; 1 for one of which nothing was seen."""
        return self._known.get((island, slug), (1.0, 0))[0]
