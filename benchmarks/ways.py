"""Helper of the benchmarks: the Coordinator as it ships, but for the way it chooses an Island, which a file says.

    WAY_FILE=FILE WAY_TRUTH='{"NAME": MS}' python benchmarks/ways.py serve

All ways choose among the Islands that the rules let have the job, free ones only: random and round robin too, which
elsewhere know nothing of that.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

from archipelag_contracts.ids import IslandId
from archipelag_coordinator.__main__ import main
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.placement import (
    Candidate,
    Placement,
    Wanted,
    first_refusal,
    place,
)

FILE: Final = "WAY_FILE"
"""The environment's name of the file that holds the name of the way."""
TRUTH: Final = "WAY_TRUTH"
"""The environment's name of how many milliseconds a first item takes in truth, by the Islands' names, as JSON."""
OURS: Final = "ours"
ORACLE: Final = "oracle"
PEERS: Final = ("random", "round robin", "least connections")
WAYS: Final = (OURS, *PEERS, ORACLE)

Choose = Callable[[Sequence[Candidate], float], Candidate]


class Ways:
    """Stands before a fleet's own choice. Ours learns from what it has placed itself, and from no other way's turns."""

    def __init__(self, way: Callable[[], str], truth_ms: Mapping[str, float]) -> None:
        self._way = way
        self._choose, self._took = Fleet.choose, Fleet.took
        turn = count()
        self._others: dict[str, Choose] = {
            "random": lambda fit, chance: fit[int(chance * len(fit))],
            "round robin": lambda fit, _: fit[next(turn) % len(fit)],
            "least connections": _least_busy,
            ORACLE: lambda fit, _: min(fit, key=lambda one: truth_ms[one.name]),
        }

    def choose(self, fleet: Fleet, wanted: Wanted, chance: float) -> Placement:
        """As `Fleet.choose`. Raises NoPlacement as it does."""
        if (way := self._way()) == OURS:
            return self._choose(fleet, wanted, chance)
        islands = fleet.candidates(wanted.slug, wanted.digest)
        fit = [one for one in islands if first_refusal(wanted, one) is None]
        return place(wanted, [self._others[way](fit, chance)] if fit else islands, chance)

    def took(
        self, fleet: Fleet, island: IslandId, slug: str, reckoned_ms: float, took_ms: float
    ) -> None:
        """As `Fleet.took`."""
        if self._way() == OURS:
            self._took(fleet, island, slug, reckoned_ms, took_ms)


def _least_busy(fit: Sequence[Candidate], chance: float) -> Candidate:
    """By share of its slots; one of the equals by chance."""
    first = int(chance * len(fit))
    return min(
        [*fit[first:], *fit[:first]], key=lambda one: (one.slots - one.slots_free) / one.slots
    )


def put_before(ways: Ways) -> None:
    """For this process, and for good."""

    def choose(fleet: Fleet, wanted: Wanted, chance: float) -> Placement:
        return ways.choose(fleet, wanted, chance)

    def took(fleet: Fleet, *seen: Any) -> None:
        ways.took(fleet, *seen)

    for method in (choose, took):
        setattr(Fleet, method.__name__, method)


if __name__ == "__main__":
    put_before(Ways(Path(os.environ[FILE]).read_text, json.loads(os.environ[TRUTH])))
    sys.exit(main())
