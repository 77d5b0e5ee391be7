"""Wishes: what the owner asked for on the network's pages, in addition to what is set here: the stricter wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from archipelag_contracts.ids import IslandId
from archipelag_contracts.manifest import Price

from archipelag_island.domain.schedule import Schedule


@dataclass(frozen=True)
class Wishes:
    """One version of them. Nothing in here can make the machine work when its own rules say no."""

    island_id: IslandId
    version: int
    draining: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    least: Mapping[str, Price] = field(default_factory=dict)
    """By slug, what a Cargo must pay at least. The Coordinator places by it; here it is shown."""


NO_WISHES: Final = Wishes(IslandId(""), 0)
