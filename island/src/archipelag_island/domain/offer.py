"""An offer: one Cargo of the catalogue as this Island holds it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import TIERS, TRUST_MAX

from archipelag_island.domain.beginnings import Beginnings
from archipelag_island.domain.choice import Choice
from archipelag_island.domain.usage import Meter
from archipelag_island.runtime import Description, Handle

REASON_MAX: Final = 500


class OfferState(StrEnum):
    AVAILABLE = "available"  # could be started
    LOADING = "loading"
    WARM = "warm"
    FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """A catalogue entry as it travels and as it is kept: verified anew each time it is read."""

    manifest: bytes
    signature: bytes
    public_key: bytes
    payload: bytes = b""
    """cosign's document; empty: the older form, Ed25519 over the manifest itself."""
    trust: int = TRUST_MAX
    """Entries from before there were levels are the network's own."""


@dataclass(frozen=True)
class Warm:
    """A started Cargo that takes runs."""

    handle: Handle
    description: Description
    meter: Meter
    beginnings: Beginnings = field(default_factory=Beginnings)
    """Of prompts, in what it keeps of ended runs; gone with it."""


@dataclass(frozen=True)
class Offer:
    manifest: Manifest
    digest: CargoDigest
    state: OfferState = OfferState.AVAILABLE
    reason: str = ""
    warm: Warm | None = None
    choice: Choice = field(default_factory=lambda: Choice("native", TIERS["standard"]))
    """How it runs here."""
    trust: int = TRUST_MAX
    publisher: bytes = b""
    """Whose signature its image must carry."""
    startable: bool = False
    """All of it is on this disk, verified: an assignment starts it."""
    start_ms: float = 0.0
    """From nothing to ready, the last time."""

    @property
    def slug(self) -> str:
        return self.manifest.slug

    @property
    def takes_runs(self) -> bool:
        return self.warm is not None or (self.startable and self.state is not OfferState.FAILED)

    def slots(self, most: int) -> int:
        """Runs that it holds at once; before its start, what the Island would start it with."""
        if self.warm:
            return self.warm.description.slots
        return most if self.takes_runs else 0

    def load(self, what: str) -> Offer:
        return replace(self, state=OfferState.LOADING, reason=what, warm=None)

    def prepared(self) -> Offer:
        if self.startable and self.state is OfferState.AVAILABLE:
            return self
        return replace(self, state=OfferState.AVAILABLE, reason="", warm=None, startable=True)

    def rest(self, reason: str) -> Offer:
        """Not started now, and could be."""
        return replace(self, state=OfferState.AVAILABLE, reason=_bounded(reason), warm=None)

    def get_warm(self, warm: Warm, start_ms: float = 0.0) -> Offer:
        return replace(self, state=OfferState.WARM, reason="", warm=warm, start_ms=start_ms)

    def fail(self, reason: str) -> Offer:
        return replace(self, state=OfferState.FAILED, reason=_bounded(reason), warm=None)


def _bounded(reason: str) -> str:
    """Its beginning, and its end: there a traceback says what happened."""
    if len(reason) <= REASON_MAX:
        return reason
    return f"{reason[: REASON_MAX // 4]} … {reason[3 - 3 * REASON_MAX // 4 :]}"
