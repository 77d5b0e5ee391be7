"""Which beginnings of prompts a started Cargo could go on from, by what it says it keeps of its ended runs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

PREFIXES_MAX: Final = 64
"""Of one assignment that are remembered, and of one Cargo that are announced."""
RUNS_MAX: Final = 64
LOOK_AGAIN_S: Final = 60.0
"""What is kept is given up with time, of which nobody is told."""


class Beginnings:
    """Of one start of a Cargo. A Cargo's word counts only for runs that it was given here and that have ended."""

    def __init__(self) -> None:
        self._ended: dict[str, tuple[int, ...]] = {}
        self._kept: tuple[str, ...] = ()
        self._stale = False
        self._asking = False
        self._heard = 0.0

    def note_ended(self, run_id: str, prefixes: tuple[int, ...]) -> None:
        """A run ended whose prompt began so, the shortest first; by one without, another may have lost its place."""
        if prefixes:
            self._ended[run_id] = prefixes[-PREFIXES_MAX:]
            if len(self._ended) > RUNS_MAX:
                del self._ended[next(iter(self._ended))]
        self._stale = bool(self._ended)

    def want_asking(self, now: float) -> bool:
        """Whether the Cargo has to be asked what it keeps; not by two at once."""
        old = bool(self._kept) and now - self._heard >= LOOK_AGAIN_S
        return (self._stale or old) and not self._asking

    def begin_asking(self, now: float) -> bool:
        """False: there is no need. Else `hear` ends it."""
        if not self.want_asking(now):
            return False
        self._asking, self._stale = True, False
        return True

    def hear(self, kept: Iterable[str], now: float) -> None:
        """The runs that it says it keeps, the newest first."""
        self._asking, self._heard = False, now
        self._kept = tuple(dict.fromkeys(run_id for run_id in kept if run_id in self._ended))

    def announced(self) -> list[int]:
        """Without doubles, PREFIXES_MAX at most: each run's longest first, of those the newest run's first."""
        longest_first = [reversed(self._ended.get(run_id, ())) for run_id in self._kept]
        rows = zip_longest(*longest_first)
        return list(dict.fromkeys(one for row in rows for one in row if one is not None))[
            :PREFIXES_MAX
        ]
