"""The listed Cargos as one Coordinator process holds them, and the signed document that tells Islands of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.errors import NotFound


@dataclass(frozen=True)
class Listing:
    """What a document says: the contents of one version of the catalogue."""

    version: int
    issued_at: datetime
    expires_at: datetime
    registry: str
    """Where images stand whose names have no host of their own."""
    cargos: tuple[Cargo, ...]


@dataclass(frozen=True)
class Document:
    """A listing as it was signed. `contents` tells whether another one would say anything else."""

    version: int
    sealed: bytes
    contents: bytes
    issued_at: datetime
    expires_at: datetime

    def is_due(self, contents: bytes, now: datetime, renew_s: float) -> bool:
        """Whether a new one must be issued: something changed, or this one is too old."""
        return contents != self.contents or now - self.issued_at >= timedelta(seconds=renew_s)


def contents_of(cargos: Iterable[Cargo], registry: str, signer: bytes) -> bytes:
    """A digest of all that a document says but its version and its times; `signer` so that a new key signs anew."""
    lines = [registry, signer.hex()]
    for cargo in sorted(cargos, key=lambda one: one.digest):
        signed = cargo.cosigned.signature if cargo.cosigned else cargo.signature
        lines.append(f"{cargo.digest} {cargo.trust} {signed.hex()}")
    return hashlib.sha256("\n".join(lines).encode()).digest()


class Catalogue:
    """A snapshot of what is listed, loaded again every second: withdrawing a Cargo works at once."""

    def __init__(self, cargos: Iterable[Cargo] = (), document: Document | None = None) -> None:
        self.load(cargos, document)

    def load(self, cargos: Iterable[Cargo], document: Document | None = None) -> None:
        self.cargos: tuple[Cargo, ...] = tuple(cargos)
        self.document = document
        self._by_name = {cargo.model_name: cargo for cargo in self.cargos}
        self._by_name |= {cargo.slug: cargo for cargo in self.cargos}
        self._by_digest: dict[str, Cargo] = {cargo.digest: cargo for cargo in self.cargos}
        digests = "\n".join(sorted(cargo.digest for cargo in self.cargos))
        self.version: str = hashlib.sha256(digests.encode()).hexdigest()[:16]
        """For Islands that understand no documents; those compare the document's own number."""

    def find(self, name: str) -> Cargo:
        """By slug or by its model's name. Raises NotFound."""
        cargo = self._by_name.get(name)
        if cargo is None:
            raise NotFound("workload", name)
        return cargo

    def by_digest(self, digest: str) -> Cargo | None:
        return self._by_digest.get(digest)
