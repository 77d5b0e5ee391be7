"""How much later the first item of an Island comes than its own figures say, learnt from what was seen of it."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from archipelag_contracts.ids import IslandId

KNOWN_MAX: Final = 50_000
"""Pairs of an Island and a Cargo; of whom nothing was seen for the longest is forgotten."""
FLOOR_MS: Final = 20.0
"""Added on both sides: a few milliseconds more or less are no bias."""
STEP_MAX: Final = math.log(4)
"""What one sight may differ from those before and still count in full: one that is far off is an outlier, or the first
of a new kind, which others will confirm."""
BIAS_MAX: Final = math.log(16)
OWN_COUNTS: Final = 2
"""The Island's own measurement counts as so many sights."""
WEIGHT_MIN: Final = 0.1
"""Of the newest sight, however many there were before: an Island may change."""


@dataclass(frozen=True)
class Bias:
    """The logarithm of seen over reckoned, averaged with weights that fall off."""

    value: float = 0.0
    sights: int = 0

    def after(self, reckoned_ms: float, took_ms: float) -> Bias:
        seen = math.log((took_ms + FLOOR_MS) / (reckoned_ms + FLOOR_MS))
        step = max(-STEP_MAX, min(STEP_MAX, seen - self.value))
        weight = max(WEIGHT_MIN, 1 / (1 + OWN_COUNTS + self.sights))
        value = max(-BIAS_MAX, min(BIAS_MAX, self.value + weight * step))
        return Bias(value, self.sights + 1)


class Foresight:
    """Guards the bias of each Island for each Cargo. One that boasts is found out, and so is one that is too modest."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[IslandId, str], Bias] = OrderedDict()

    def learn(self, island: IslandId, slug: str, reckoned_ms: float, took_ms: float) -> None:
        """`reckoned_ms`: by the Island's own figures, without what was learnt before."""
        if not (0 <= reckoned_ms < math.inf and 0 <= took_ms < math.inf):
            return
        key = (island, slug)
        self._known[key] = self._known.pop(key, Bias()).after(reckoned_ms, took_ms)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def factor(self, island: IslandId, slug: str) -> float:
        """By which to multiply what is reckoned; 1 for an Island of which nothing was seen."""
        bias = self._known.get((island, slug))
        return math.exp(bias.value) if bias else 1.0
