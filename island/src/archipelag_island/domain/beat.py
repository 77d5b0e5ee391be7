"""What a heartbeat says and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from archipelag_contracts.ids import IslandId

from archipelag_island.domain.attempt import AttemptKey
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.offer import Entry, Offer


@dataclass(frozen=True)
class Held:
    """An attempt that this Island runs, or has reported and was not yet told to forget."""

    key: AttemptKey
    reported: bool
    next_position: int


@dataclass(frozen=True)
class Beat:
    island_id: IslandId
    sequence: int
    boot_id: str
    offers: tuple[Offer, ...]
    slots: int
    slots_free: int
    held: tuple[Held, ...]
    draining: bool
    catalogue_version: str
    broker_rtt_us: int
    load: float
    capabilities: Capabilities | None = None
    """None: as last answered."""
    catalogue_number: int = 0
    """Version of the signed catalogue that is held and still good; 0: none."""
    reads_documents: bool = False
    wishes_version: int = 0
    """Of the owner's wishes that are gone by; 0: none."""


@dataclass(frozen=True)
class BeatReply:
    island_id: IslandId
    sequence: int
    next_interval_ms: int
    stop: tuple[AttemptKey, ...]
    forget: tuple[AttemptKey, ...]
    resend: tuple[AttemptKey, ...]
    accepts_work: bool
    notice: str
    catalogue_version: str
    catalogue: tuple[Entry, ...]
    recommended: frozenset[str] = frozenset()
    """Slugs worth fetching ahead."""
    document: bytes = b""
    """A signed catalogue, not yet looked at; empty: ours is the newest."""
    wishes: bytes = b""
    """The owner's, signed and not yet looked at; empty: nothing newer."""
