"""Cargo versions as the catalogue holds them: who published one, what was found out about it, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import CargoDigest, UserId
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import TRUST_MAX

from archipelag_coordinator.domain.review import (
    Check,
    Review,
    check_trust,
    merged,
    refuse_failed,
    still_missing,
)
from archipelag_coordinator.errors import IllegalMove


class CargoStatus(StrEnum):
    SUBMITTED = "submitted"  # signed by its publisher; the checks are not done
    VERIFIED = "verified"  # every check passed; a person has yet to look at it
    LISTED = "listed"
    WITHDRAWN = "withdrawn"  # not offered; what runs may finish
    REJECTED = "rejected"  # never listed, for a reason
    REVOKED = "revoked"  # must not run anywhere


MOVES: Final = {
    CargoStatus.SUBMITTED: {CargoStatus.VERIFIED, CargoStatus.REJECTED, CargoStatus.REVOKED},
    CargoStatus.VERIFIED: {CargoStatus.LISTED, CargoStatus.REJECTED, CargoStatus.REVOKED},
    CargoStatus.LISTED: {CargoStatus.WITHDRAWN, CargoStatus.REVOKED},
    CargoStatus.WITHDRAWN: {CargoStatus.LISTED, CargoStatus.REVOKED},
    CargoStatus.REJECTED: set[CargoStatus](),
    CargoStatus.REVOKED: set[CargoStatus](),
}
OPEN: Final = frozenset({CargoStatus.SUBMITTED, CargoStatus.VERIFIED})
"""Somebody has yet to decide on it."""


@dataclass(frozen=True)
class Cosigned:
    """A publisher's signature in cosign's form, over the artifact that the manifest determines."""

    payload: bytes
    signature: bytes
    public_key: bytes
    """P-256, in DER."""


@dataclass(frozen=True)
class Cargo:
    """One version: a manifest, signed by a publisher. `id` is the number that the API shows."""

    id: int
    manifest: Manifest
    status: CargoStatus
    created_at: datetime
    signature: bytes = b""
    """Ed25519 by the network's own publisher key, for Islands that know no other; empty for what others publish."""
    public_key: bytes = b""
    owner_id: UserId | None = None
    """Who submitted it; None: the network's operator."""
    reference: str = ""
    """Where it stands in a registry."""
    cosigned: Cosigned | None = None
    trust: int = TRUST_MAX
    """0 to 3, given at the listing: decides which tiers it may have."""
    checks: tuple[Check, ...] = ()
    review: Review | None = None
    """The newest word of a person on it."""

    @property
    def slug(self) -> str:
        return self.manifest.slug

    @property
    def digest(self) -> CargoDigest:
        return self.manifest.digest

    @property
    def model_name(self) -> str:
        """What an OpenAI client calls it: the model's name, or the slug where there is no model."""
        return self.manifest.model.name if self.manifest.model else self.manifest.slug

    @property
    def may_start(self) -> bool:
        """Whether a job of it may be given to an Island; an older version may while a newer one is listed too."""
        return self.status is CargoStatus.LISTED

    @property
    def withdrawn(self) -> bool:
        return self.status is CargoStatus.WITHDRAWN

    def take_checks(self, checks: tuple[Check, ...]) -> Cargo:
        """What was found out; once every check has passed it is verified. A check that is done again counts anew."""
        if self.status not in OPEN:
            raise IllegalMove("cargo", self.status, "checked")
        taken = replace(self, checks=merged(self.checks, checks))
        done = self.status is CargoStatus.SUBMITTED and not still_missing(taken.checks)
        return taken.verify() if done else taken

    def verify(self) -> Cargo:
        return self._move(CargoStatus.VERIFIED)

    def list_it(self, trust: int = TRUST_MAX, review: Review | None = None) -> Cargo:
        """Raises InvalidInput for a manifest that asks for more than this trust allows, or whose checks failed."""
        moved = self._move(CargoStatus.LISTED)
        check_trust(self.manifest.limits.tier, trust)
        refuse_failed(self.checks)
        return replace(moved, trust=trust, review=review or self.review)

    def retrust(self, trust: int, review: Review) -> Cargo:
        """Raises InvalidInput as a listing does."""
        check_trust(self.manifest.limits.tier, trust)
        return replace(self, trust=trust, review=review)

    def reject(self, review: Review) -> Cargo:
        return replace(self._move(CargoStatus.REJECTED), review=review)

    def withdraw(self, review: Review | None = None) -> Cargo:
        return replace(self._move(CargoStatus.WITHDRAWN), review=review or self.review)

    def revoke(self, review: Review | None = None) -> Cargo:
        return replace(self._move(CargoStatus.REVOKED), review=review or self.review)

    def cosign(self, cosigned: Cosigned) -> Cargo:
        """Adds the signature to a version from before there was one; a signature that stands stays."""
        return self if self.cosigned else replace(self, cosigned=cosigned)

    def _move(self, to: CargoStatus) -> Cargo:
        if to not in MOVES[self.status]:
            raise IllegalMove("cargo", self.status, to)
        return replace(self, status=to)
