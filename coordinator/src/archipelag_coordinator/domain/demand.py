"""What customers asked for in the last minutes, and which Cargos Islands should therefore fetch ahead."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Final

from archipelag_coordinator.domain.island import Island, Offer

WINDOW_S: Final = 300.0
BUCKET_S: Final = 10.0
RECOMMENDED_MAX: Final = 3
_READY: Final = frozenset({"warm", "loading"})


class Demand:
    """Jobs by Cargo as this process took them, counted in buckets so that forgetting is cheap."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[float, Counter[str]]] = deque()
        self.ranked: tuple[str, ...] = ()
        """Slugs that too few Islands have ready for what is asked, the most wanted first."""

    def asked(self, slug: str, now: float) -> None:
        """A job was taken. `now` is monotonic."""
        if not self._buckets or now - self._buckets[-1][0] >= BUCKET_S:
            self._buckets.append((now, Counter()))
        self._buckets[-1][1][slug] += 1

    def lately(self, now: float) -> Counter[str]:
        """How often each slug was asked for within the window."""
        while self._buckets and now - self._buckets[0][0] > WINDOW_S:
            self._buckets.popleft()
        return sum((counts for _, counts in self._buckets), Counter())


def rank(asked: Mapping[str, int], ready: Mapping[str, int]) -> tuple[str, ...]:
    """Slugs by how many jobs there were for each Island that could take one at once; equal ones by name."""
    wanted = [(count / (1 + ready.get(slug, 0)), slug) for slug, count in asked.items() if count]
    return tuple(slug for _, slug in sorted(wanted, key=lambda one: (-one[0], one[1])))


def ready_counts(islands: Iterable[Island]) -> Counter[str]:
    """On how many working Islands each Cargo could take a job at once."""
    return Counter(
        offer.slug
        for island in islands
        if island.accepts_work
        for offer in island.offers
        if _is_here(offer)
    )


def recommended(ranked: Iterable[str], island: Island) -> tuple[str, ...]:
    """The first few that this Island does not have yet."""
    has = {offer.slug for offer in island.offers if _is_here(offer)}
    return tuple(slug for slug in ranked if slug not in has)[:RECOMMENDED_MAX]


def _is_here(offer: Offer) -> bool:
    """Nothing need be fetched: it runs, or an assignment starts it."""
    return offer.startable or offer.state in _READY
