"""What publishing and listing need from the world; part of the ports."""

from __future__ import annotations

from typing import Protocol

from archipelag_contracts.ids import CargoDigest, JobId, RelayId, UserId

from archipelag_coordinator.domain.cargo import Cargo, CargoStatus
from archipelag_coordinator.domain.catalogue import Document, Listing


class Cargos(Protocol):
    async def add(self, cargo: Cargo) -> Cargo:
        """Stores a version under a new number and returns it; the same digest twice returns the first. Its slug is its
        owner's from then on. Raises SlugTaken for one that is another's."""
        ...

    async def save(self, cargo: Cargo) -> None:
        """Where it stands and what was found out; what was signed never changes. Raises IllegalMove."""
        ...

    async def get(self, number: int) -> Cargo | None: ...
    async def lock(self, number: int) -> Cargo | None:
        """As `get`, and nobody else changes it before this transaction ends."""
        ...

    async def by_digest(self, digest: CargoDigest) -> Cargo | None: ...
    async def listed(self) -> list[Cargo]:
        """The newest listed version of each slug, by slug."""
        ...

    async def finishing(self) -> list[Cargo]:
        """Withdrawn versions whose last jobs still run, of slugs that nothing else is listed under."""
        ...

    async def of_owner(self, owner: UserId, *, limit: int, offset: int) -> list[Cargo]:
        """What this user submitted, newest first."""
        ...

    async def of_status(
        self, status: CargoStatus | None, *, limit: int, offset: int
    ) -> list[Cargo]:
        """Newest first; None: whatever the status."""
        ...

    async def count_open(self, owner: UserId) -> int:
        """How many of this user's wait to be decided on. Until the transaction ends, nobody else counts them."""
        ...

    async def owner_of(self, slug: str) -> tuple[bool, UserId | None]:
        """Whether the slug is taken, and whose it is; None: the network operator's."""
        ...

    async def sbom(self, number: int) -> bytes | None: ...
    async def keep_sbom(self, number: int, sbom: bytes) -> None:
        """What this version is made of, as the newest checks found it."""
        ...

    async def jobs_to_end(self, home: RelayId, limit: int) -> list[tuple[JobId, CargoStatus]]:
        """Unfinished jobs of this home that may not go on: of a revoked Cargo all, of a withdrawn one the queued."""
        ...

    async def newest_document(self, *, but: int = 0) -> Document | None:
        """The catalogue's newest signed document; None where there is none, or it is version `but`."""
        ...

    async def wait_turn_to_issue(self) -> None:
        """Until no other transaction issues a document; none does before this one ends."""
        ...

    async def issue(self, document: Document) -> None:
        """Raises Conflict unless its version follows the newest by one."""
        ...


class CatalogueSigner(Protocol):
    """The network's catalogue key."""

    @property
    def public(self) -> bytes: ...
    def seal(self, listing: Listing) -> bytes:
        """The signed document that says this, as it travels."""
        ...
