"""Cargo versions as the catalogue holds them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest

from archipelag_coordinator.errors import IllegalMove


class CargoStatus(StrEnum):
    SUBMITTED = "submitted"
    VERIFIED = "verified"
    LISTED = "listed"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"


MOVES: Final = {
    CargoStatus.SUBMITTED: {CargoStatus.VERIFIED, CargoStatus.REVOKED},
    CargoStatus.VERIFIED: {CargoStatus.LISTED, CargoStatus.REVOKED},
    CargoStatus.LISTED: {CargoStatus.WITHDRAWN, CargoStatus.REVOKED},
    CargoStatus.WITHDRAWN: {CargoStatus.LISTED, CargoStatus.REVOKED},
    CargoStatus.REVOKED: set[CargoStatus](),
}


@dataclass(frozen=True)
class Cargo:
    """One version: a manifest, signed by a publisher. `id` is the number that the API shows."""

    id: int
    manifest: Manifest
    signature: bytes
    public_key: bytes
    status: CargoStatus
    created_at: datetime

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

    def verify(self) -> Cargo:
        return self._move(CargoStatus.VERIFIED)

    def list_it(self) -> Cargo:
        return self._move(CargoStatus.LISTED)

    def withdraw(self) -> Cargo:
        return self._move(CargoStatus.WITHDRAWN)

    def revoke(self) -> Cargo:
        return self._move(CargoStatus.REVOKED)

    def _move(self, to: CargoStatus) -> Cargo:
        if to not in MOVES[self.status]:
            raise IllegalMove("cargo", self.status, to)
        return replace(self, status=to)
