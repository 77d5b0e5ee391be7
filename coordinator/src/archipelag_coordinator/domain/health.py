"""How the network's parts are, as an operator sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_contracts.ids import RelayId

COORDINATOR_DEAD_S: Final = 10.0
"""A Coordinator that has not been seen for so long is dead: others take its jobs over."""


@dataclass(frozen=True)
class Part:
    name: str
    ok: bool
    said: str


@dataclass(frozen=True)
class Seen:
    """A Coordinator process and its last sign of life."""

    relay: RelayId
    at: datetime


@dataclass(frozen=True)
class Chore:
    """Persistent background work of one name in one state, as its library calls that."""

    name: str
    status: str
    count: int
    oldest_at: datetime | None
    """When the first of them was to be done; None: at once."""
    attempts_max: int


def chores_part(chores: list[Chore]) -> Part:
    failed = sum(chore.count for chore in chores if chore.status == "failed")
    waiting = sum(chore.count for chore in chores if chore.status in ("todo", "doing"))
    return Part("chores", not failed, f"{failed} failed, {waiting} waiting or at work")


def regions_part(here: str, round_trips_ms: Mapping[str, float | None]) -> Part:
    """Of the other regions from `here`; None: out of reach."""
    said = [
        f"{region} is out of reach" if ms is None else f"{region} is {ms:.0f} ms away"
        for region, ms in sorted(round_trips_ms.items())
    ]
    whole = None not in round_trips_ms.values()
    return Part("regions", whole, f"from {here}: " + (", ".join(said) or "there is no other"))
