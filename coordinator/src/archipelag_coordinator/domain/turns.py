"""How many of all jobs that wait have their turn up to a given one, kept as lines change."""

from __future__ import annotations

from collections import Counter, defaultdict

from archipelag_contracts.ids import CargoDigest


class Turns:
    """Guards, by Cargo, at which turns lines begin and end.

    A line whose jobs have the turns after `start` adds one for each turn from there to its end: the sum over all lines
    is a line with a knot at each beginning and end. Many lines share their knots, and k different ones take about k²/8
    jobs at least, so that even 10,000 jobs make no more than some hundred.
    """

    def __init__(self) -> None:
        self._knots: defaultdict[CargoDigest, dict[int, int]] = defaultdict(dict)

    def add(self, digest: CargoDigest, start: int, jobs: int) -> None:
        """A line of so many jobs whose turns follow on `start`."""
        if jobs:
            self._change(digest, start, start + jobs, 1)

    def take(self, digest: CargoDigest, start: int, jobs: int) -> None:
        """One that was added stands no more."""
        if jobs:
            self._change(digest, start, start + jobs, -1)

    def _change(self, digest: CargoDigest, start: int, end: int, more: int) -> None:
        knots = self._knots[digest]
        knots[start] = knots.get(start, 0) + more
        knots[end] = knots.get(end, 0) - more
        if not knots[start]:
            del knots[start]
        if not knots.get(end, 1):
            del knots[end]
        if not knots:
            del self._knots[digest]

    def before(self, turn: int) -> Counter[CargoDigest]:
        """Jobs with this turn or an earlier one."""
        return Counter(
            {
                digest: sum((turn - knot) * count for knot, count in knots.items() if knot < turn)
                for digest, knots in self._knots.items()
            }
        )
