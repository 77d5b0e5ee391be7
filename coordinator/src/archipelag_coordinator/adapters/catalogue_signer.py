"""The catalogue as it travels: one protobuf message, signed with the network's catalogue key."""

from __future__ import annotations

from datetime import datetime

from archipelag_contracts.pb.archipelag.v1 import island_pb2 as pb
from archipelag_contracts.signing import SigningKey

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.catalogue import Listing


class KeyCatalogueSigner:
    """Implements `CatalogueSigner`."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def public(self) -> bytes:
        return self._key.public

    def seal(self, listing: Listing) -> bytes:
        return self._key.seal(
            pb.Catalogue(
                version=listing.version,
                issued_at_ms=_milliseconds(listing.issued_at),
                expires_at_ms=_milliseconds(listing.expires_at),
                registry=listing.registry,
                entries=[_entry(cargo) for cargo in listing.cargos],
            )
        )


def _entry(cargo: Cargo) -> pb.CatalogueEntry:
    manifest, trust = cargo.manifest.canonical(), cargo.trust
    if (cosigned := cargo.cosigned) is None:
        return pb.CatalogueEntry(
            manifest=manifest,
            signature=cargo.signature,
            public_key=cargo.public_key,
            trust=trust,
        )
    return pb.CatalogueEntry(
        manifest=manifest,
        signature=cosigned.signature,
        public_key=cosigned.public_key,
        payload=cosigned.payload,
        trust=trust,
    )


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
