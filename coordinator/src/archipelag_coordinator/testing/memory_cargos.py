"""Cargos in memory, with the guards that PostgreSQL has."""

from __future__ import annotations

from dataclasses import replace

from archipelag_contracts.ids import CargoDigest, JobId, RelayId, UserId

from archipelag_coordinator.domain.cargo import MOVES, OPEN, Cargo, CargoStatus
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import Conflict, IllegalMove, NotFound, SlugTaken
from archipelag_coordinator.testing.memory_state import State


class MemoryCargos:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, cargo: Cargo) -> Cargo:
        taken, owner = await self.owner_of(cargo.slug)
        if taken and owner != cargo.owner_id:
            raise SlugTaken(cargo.slug)
        standing = await self.by_digest(cargo.digest)
        if standing is not None:
            return standing
        stored = replace(cargo, id=len(self._state.cargos) + 1)
        self._state.cargos.add(stored.id, stored)
        self._state.slugs.put(cargo.slug, cargo.owner_id)
        return stored

    async def save(self, cargo: Cargo) -> None:
        stored = self._state.cargos.get(cargo.id)
        if stored is None:
            raise NotFound("Cargo", str(cargo.id))
        own = cargo.owner_id is None and cargo.status is CargoStatus.LISTED
        at_once = own and stored.status is CargoStatus.SUBMITTED
        moves = stored.status is not cargo.status and not at_once
        if moves and cargo.status not in MOVES[stored.status]:
            raise IllegalMove("cargo", "stored", cargo.status)
        if _signed(stored) != _signed(cargo) or stored.cosigned not in (None, cargo.cosigned):
            raise Conflict("the database refused this: cargos_immutable")
        self._state.cargos.put(cargo.id, cargo)

    async def get(self, number: int) -> Cargo | None:
        return self._state.cargos.get(number)

    async def lock(self, number: int) -> Cargo | None:
        return self._state.cargos.get(number)

    async def by_digest(self, digest: CargoDigest) -> Cargo | None:
        return next((c for c in self._state.cargos if c.digest == digest), None)

    async def listed(self) -> list[Cargo]:
        newest: dict[str, Cargo] = {}
        for cargo in sorted(self._state.cargos, key=lambda c: c.id):
            if cargo.status is CargoStatus.LISTED:
                newest[cargo.slug] = cargo
        return [newest[slug] for slug in sorted(newest)]

    async def finishing(self) -> list[Cargo]:
        running = {j.cargo_id for j in self._state.jobs if j.status is JobStatus.RUNNING}
        listed = {cargo.slug for cargo in await self.listed()}
        newest = {c.slug: c for c in self._state.cargos if c.withdrawn and c.id in running}
        return [newest[slug] for slug in sorted(newest) if slug not in listed]

    async def of_owner(self, owner: UserId, *, limit: int, offset: int) -> list[Cargo]:
        found = [c for c in self._newest() if c.owner_id == owner]
        return found[offset : offset + limit]

    async def of_status(
        self, status: CargoStatus | None, *, limit: int, offset: int
    ) -> list[Cargo]:
        found = [c for c in self._newest() if status in (None, c.status)]
        return found[offset : offset + limit]

    async def count_open(self, owner: UserId) -> int:
        return sum(1 for c in self._state.cargos if c.owner_id == owner and c.status in OPEN)

    async def owner_of(self, slug: str) -> tuple[bool, UserId | None]:
        return slug in self._state.slugs, self._state.slugs.get(slug)

    async def sbom(self, number: int) -> bytes | None:
        return self._state.sboms.get(number)

    async def keep_sbom(self, number: int, sbom: bytes) -> None:
        self._state.sboms.put(number, sbom)

    async def jobs_to_end(self, home: RelayId, limit: int) -> list[tuple[JobId, CargoStatus]]:
        found = []
        for job in self._state.jobs:
            cargo = self._state.cargos.get(job.cargo_id)
            if cargo is None or job.finished or job.home != home:
                continue
            withdrawn = cargo.status is CargoStatus.WITHDRAWN and job.status is JobStatus.QUEUED
            if withdrawn or cargo.status is CargoStatus.REVOKED:
                found.append((job.id, cargo.status))
        return found[:limit]

    async def newest_document(self, *, but: int = 0) -> Document | None:
        newest = max(self._state.documents, key=lambda d: d.version, default=None)
        return None if newest is None or newest.version == but else newest

    async def wait_turn_to_issue(self) -> None:
        """Transactions are one after another anyway."""

    async def issue(self, document: Document) -> None:
        newest = await self.newest_document()
        if document.version != (newest.version if newest else 0) + 1:
            raise Conflict("the database refused this: catalogue_rises")
        self._state.documents.add(document.version, document)

    def _newest(self) -> list[Cargo]:
        return sorted(self._state.cargos, key=lambda c: c.id, reverse=True)


def _signed(cargo: Cargo) -> tuple[object, ...]:
    return cargo.manifest, cargo.signature, cargo.public_key, cargo.owner_id, cargo.reference
