"""Cargo versions in PostgreSQL: the manifest's canonical bytes, as they were signed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest, parse_canonical

from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every, one
from archipelag_coordinator.domain.cargo import Cargo, CargoStatus
from archipelag_coordinator.errors import NotFound

ADD: Final = """
    INSERT INTO cargos (slug, digest, manifest, signature, public_key, status, created_at)
    VALUES (%(slug)s, %(digest)s, %(manifest)s, %(signature)s, %(public_key)s, %(status)s, %(created_at)s)
    ON CONFLICT (digest) DO NOTHING RETURNING *
"""
# What is signed never changes under a digest; only the listing does.
SAVE: Final = "UPDATE cargos SET status = %(status)s WHERE id = %(id)s"
CARGO: Final = "SELECT * FROM cargos WHERE id = %(id)s"
BY_DIGEST: Final = "SELECT * FROM cargos WHERE digest = %(digest)s"
LISTED: Final = """
    SELECT DISTINCT ON (slug) * FROM cargos WHERE status = 'listed' ORDER BY slug, id DESC
"""


class PostgresCargos:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, cargo: Cargo) -> Cargo:
        values = {
            "slug": cargo.slug,
            "digest": cargo.digest,
            "manifest": cargo.manifest.canonical(),
            "signature": cargo.signature,
            "public_key": cargo.public_key,
            "status": cargo.status.value,
            "created_at": cargo.created_at,
        }
        row = await one(self._connection, ADD, values)
        if row is not None:
            return _cargo(row)
        standing = await self.by_digest(cargo.digest)
        assert standing is not None, "a Cargo version is never removed"
        return standing

    async def save(self, cargo: Cargo) -> None:
        values = {"id": cargo.id, "status": cargo.status.value}
        if not await changed(self._connection, SAVE, values):
            raise NotFound("Cargo", str(cargo.id))

    async def get(self, number: int) -> Cargo | None:
        row = await one(self._connection, CARGO, {"id": number})
        return _cargo(row) if row else None

    async def by_digest(self, digest: CargoDigest) -> Cargo | None:
        row = await one(self._connection, BY_DIGEST, {"digest": digest})
        return _cargo(row) if row else None

    async def listed(self) -> list[Cargo]:
        return sorted(
            (_cargo(row) for row in await every(self._connection, LISTED, {})),
            key=lambda cargo: cargo.slug,
        )


def _cargo(row: Mapping[str, Any]) -> Cargo:
    return Cargo(
        id=row["id"],
        manifest=_manifest(row["manifest"]),
        signature=row["signature"],
        public_key=row["public_key"],
        status=CargoStatus(row["status"]),
        created_at=row["created_at"],
    )


@lru_cache(maxsize=256)
def _manifest(canonical: bytes) -> Manifest:
    """Every settlement asks for the price again; the bytes under a digest never change."""
    return parse_canonical(canonical)
