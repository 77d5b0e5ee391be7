"""Cargo versions in PostgreSQL: the manifest's canonical bytes, as they were signed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import psycopg
from archipelag_contracts.ids import CargoDigest, JobId, RelayId, UserId
from archipelag_contracts.manifest import Manifest, parse_canonical

from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    assigns,
    changed,
    every,
    inserts,
    jsonb,
    one,
    plain,
)
from archipelag_coordinator.domain.cargo import OPEN, Cargo, CargoStatus, Cosigned
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.review import Check, Review
from archipelag_coordinator.errors import IllegalMove, NotFound, SlugTaken

# What is signed never changes under a digest; only the listing, and what was found out, does.
_SIGNED: Final = ("slug", "digest", "manifest", "signature", "public_key", "owner_id", "reference")
_FOUND: Final = (
    "status", "cosign_payload", "cosign_signature", "cosign_key", "trust", "checks",
    "reviewed_at", "reviewed_by", "review_reason",
)  # fmt: skip
ADD: Final = inserts(
    "cargos",
    (*_SIGNED, *_FOUND, "created_at"),
    beyond="ON CONFLICT (digest) DO NOTHING RETURNING *",
)
SAVE: Final = f"UPDATE cargos SET {assigns(_FOUND)} WHERE id = %(id)s"
CARGO: Final = "SELECT * FROM cargos WHERE id = %(id)s"
LOCK: Final = "SELECT * FROM cargos WHERE id = %(id)s FOR NO KEY UPDATE"
BY_DIGEST: Final = "SELECT * FROM cargos WHERE digest = %(digest)s"
LISTED: Final = """
    SELECT DISTINCT ON (slug) * FROM cargos WHERE status = 'listed' ORDER BY slug, id DESC
"""
# Unfinished jobs are few, and those that the partial index of each home has.
FINISHING: Final = """
    SELECT DISTINCT ON (slug) * FROM cargos
    WHERE status = 'withdrawn' AND id IN (
        SELECT cargo_id FROM jobs WHERE status IN ('queued', 'running') AND status = 'running'
    ) AND slug NOT IN (SELECT slug FROM cargos WHERE status = 'listed')
    ORDER BY slug, id DESC
"""
OF_OWNER: Final = """
    SELECT * FROM cargos WHERE owner_id = %(owner)s ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s
"""
OF_STATUS: Final = """
    SELECT * FROM cargos WHERE %(status)s::text IS NULL OR status = %(status)s
    ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s
"""
# Counted behind a lock on the user, so that many submissions at once do not all see room.
LOCK_USER: Final = "SELECT id FROM users WHERE id = %(owner)s FOR NO KEY UPDATE"
COUNT_OPEN: Final = """
    SELECT count(*) AS n FROM cargos WHERE owner_id = %(owner)s AND status = ANY(%(open)s)
"""
OWNER_OF: Final = "SELECT owner_id FROM slugs WHERE slug = %(slug)s"
# Few jobs are unfinished at a time, and there is an index of those of each home.
TO_END: Final = """
    SELECT jobs.id, cargos.status FROM jobs JOIN cargos ON cargos.id = jobs.cargo_id
    WHERE jobs.home = %(home)s AND jobs.status IN ('queued', 'running')
      AND (cargos.status = 'revoked' OR (cargos.status = 'withdrawn' AND jobs.status = 'queued'))
    LIMIT %(limit)s
"""

SBOM: Final = "SELECT sbom FROM cargo_sboms WHERE cargo_id = %(id)s"
KEEP_SBOM: Final = """
    INSERT INTO cargo_sboms (cargo_id, sbom) VALUES (%(id)s, %(sbom)s)
    ON CONFLICT (cargo_id) DO UPDATE SET sbom = EXCLUDED.sbom
"""

NEWEST: Final = "SELECT * FROM catalogue_documents ORDER BY version DESC LIMIT 1"
NEWEST_VERSION: Final = "SELECT max(version) AS version FROM catalogue_documents"
ISSUING: Final = "SELECT pg_advisory_xact_lock(hashtext('archipelag catalogue'))"
ISSUE: Final = inserts(
    "catalogue_documents", ("version", "document", "contents", "issued_at", "expires_at")
)


class PostgresCargos:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, cargo: Cargo) -> Cargo:
        values = _found(cargo) | {
            "slug": cargo.slug,
            "digest": cargo.digest,
            "manifest": cargo.manifest.canonical(),
            "signature": cargo.signature,
            "public_key": cargo.public_key,
            "owner_id": cargo.owner_id,
            "reference": plain(cargo.reference),
            "created_at": cargo.created_at,
        }
        try:
            row = await one(self._connection, ADD, values)
        except psycopg.errors.IntegrityError as error:
            if error.diag.constraint_name == "slugs_owner":
                raise SlugTaken(cargo.slug) from None
            raise
        if row is not None:
            return _cargo(row)
        standing = await self.by_digest(cargo.digest)
        assert standing is not None, "a Cargo version is never removed"
        return standing

    async def save(self, cargo: Cargo) -> None:
        try:
            if not await changed(self._connection, SAVE, _found(cargo) | {"id": cargo.id}):
                raise NotFound("Cargo", str(cargo.id))
        except psycopg.errors.IntegrityError as error:
            if error.diag.constraint_name == "cargos_moves":
                raise IllegalMove("cargo", "stored", cargo.status) from None
            raise

    async def get(self, number: int) -> Cargo | None:
        row = await one(self._connection, CARGO, {"id": number})
        return _cargo(row) if row else None

    async def lock(self, number: int) -> Cargo | None:
        row = await one(self._connection, LOCK, {"id": number})
        return _cargo(row) if row else None

    async def by_digest(self, digest: CargoDigest) -> Cargo | None:
        row = await one(self._connection, BY_DIGEST, {"digest": digest})
        return _cargo(row) if row else None

    async def listed(self) -> list[Cargo]:
        return sorted(
            (_cargo(row) for row in await every(self._connection, LISTED, {})),
            key=lambda cargo: cargo.slug,
        )

    async def finishing(self) -> list[Cargo]:
        return [_cargo(row) for row in await every(self._connection, FINISHING, {})]

    async def of_owner(self, owner: UserId, *, limit: int, offset: int) -> list[Cargo]:
        values = {"owner": owner, "limit": limit, "offset": offset}
        return [_cargo(row) for row in await every(self._connection, OF_OWNER, values)]

    async def of_status(
        self, status: CargoStatus | None, *, limit: int, offset: int
    ) -> list[Cargo]:
        values = {"status": status, "limit": limit, "offset": offset}
        return [_cargo(row) for row in await every(self._connection, OF_STATUS, values)]

    async def count_open(self, owner: UserId) -> int:
        await one(self._connection, LOCK_USER, {"owner": owner})
        values = {"owner": owner, "open": [status.value for status in OPEN]}
        row = await one(self._connection, COUNT_OPEN, values)
        assert row is not None
        return int(row["n"])

    async def owner_of(self, slug: str) -> tuple[bool, UserId | None]:
        row = await one(self._connection, OWNER_OF, {"slug": slug})
        return (False, None) if row is None else (True, row["owner_id"])

    async def sbom(self, number: int) -> bytes | None:
        row = await one(self._connection, SBOM, {"id": number})
        return row["sbom"] if row else None

    async def keep_sbom(self, number: int, sbom: bytes) -> None:
        await changed(self._connection, KEEP_SBOM, {"id": number, "sbom": sbom})

    async def jobs_to_end(self, home: RelayId, limit: int) -> list[tuple[JobId, CargoStatus]]:
        rows = await every(self._connection, TO_END, {"home": home, "limit": limit})
        return [(JobId(row["id"]), CargoStatus(row["status"])) for row in rows]

    async def newest_document(self, *, but: int = 0) -> Document | None:
        if but:
            newest = await one(self._connection, NEWEST_VERSION, {})
            if newest is not None and newest["version"] == but:
                return None
        row = await one(self._connection, NEWEST, {})
        if row is None:
            return None
        return Document(
            version=row["version"],
            sealed=row["document"],
            contents=row["contents"],
            issued_at=row["issued_at"],
            expires_at=row["expires_at"],
        )

    async def wait_turn_to_issue(self) -> None:
        await one(self._connection, ISSUING, {})

    async def issue(self, document: Document) -> None:
        values = {
            "version": document.version,
            "document": document.sealed,
            "contents": document.contents,
            "issued_at": document.issued_at,
            "expires_at": document.expires_at,
        }
        await changed(self._connection, ISSUE, values)


def _found(cargo: Cargo) -> dict[str, Any]:
    cosigned, review = cargo.cosigned, cargo.review
    return {
        "status": cargo.status.value,
        "cosign_payload": cosigned.payload if cosigned else None,
        "cosign_signature": cosigned.signature if cosigned else None,
        "cosign_key": cosigned.public_key if cosigned else None,
        "trust": cargo.trust,
        "checks": jsonb([[one.name, one.passed, one.said] for one in cargo.checks]),
        "reviewed_at": review.at if review else None,
        "reviewed_by": review.by if review else None,
        "review_reason": plain(review.reason) if review else "",
    }


def _cargo(row: Mapping[str, Any]) -> Cargo:
    cosigned = row["cosign_payload"], row["cosign_signature"], row["cosign_key"]
    reviewed_at = row["reviewed_at"]
    return Cargo(
        id=row["id"],
        manifest=_manifest(row["manifest"]),
        signature=row["signature"],
        public_key=row["public_key"],
        status=CargoStatus(row["status"]),
        created_at=row["created_at"],
        owner_id=row["owner_id"],
        reference=row["reference"],
        cosigned=None if cosigned[1] is None else Cosigned(*cosigned),
        trust=row["trust"],
        checks=tuple(Check(*one) for one in row["checks"]),
        review=reviewed_at and Review(row["reviewed_by"], reviewed_at, row["review_reason"]),
    )


@lru_cache(maxsize=256)
def _manifest(canonical: bytes) -> Manifest:
    """Every settlement asks for the price again; the bytes under a digest never change."""
    return parse_canonical(canonical)
