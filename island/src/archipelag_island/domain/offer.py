"""An offer: one Cargo of the catalogue as this Island holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest

from archipelag_island.domain.usage import Meter
from archipelag_island.runtime import Description, Handle


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


@dataclass(frozen=True)
class Warm:
    """A started Cargo that takes runs."""

    handle: Handle
    description: Description
    meter: Meter


@dataclass(frozen=True)
class Offer:
    manifest: Manifest
    digest: CargoDigest
    state: OfferState = OfferState.AVAILABLE
    reason: str = ""
    warm: Warm | None = None

    @property
    def slug(self) -> str:
        return self.manifest.slug

    @property
    def slots(self) -> int:
        return self.warm.description.slots if self.warm else 0

    def load(self, what: str) -> Offer:
        return replace(self, state=OfferState.LOADING, reason=what, warm=None)

    def get_warm(self, warm: Warm) -> Offer:
        return replace(self, state=OfferState.WARM, reason="", warm=warm)

    def fail(self, reason: str) -> Offer:
        return replace(self, state=OfferState.FAILED, reason=reason[:500], warm=None)
