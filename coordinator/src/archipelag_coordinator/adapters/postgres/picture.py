"""A database as it is at one moment, for whoever reads it by several statements, or lets another program read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from psycopg.rows import dict_row

from archipelag_coordinator.adapters.postgres.ahead import StoreConnection
from archipelag_coordinator.adapters.postgres.files import blob_of_row
from archipelag_coordinator.adapters.postgres.rows import Connection, every, one
from archipelag_coordinator.adapters.postgres.store import PostgresTx
from archipelag_coordinator.domain.file import Blob

BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
EXPORT: Final = "SELECT pg_export_snapshot() AS name"
COUNTS: Final = """
    SELECT (SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version) AS schema,
        (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM jobs) AS jobs,
        (SELECT count(*) FROM transfers) AS transfers
"""

STORED: Final = "SELECT * FROM blobs WHERE state = 'stored' ORDER BY id"
STORED_STILL: Final = """
    SELECT id FROM blobs WHERE state = 'stored' AND id = ANY(%(ids)s) ORDER BY id
"""


@dataclass(frozen=True)
class Figures:
    """What one looks at to see whether two databases are the same. `drifted` names accounts whose balance is not what
    their entries say."""

    schema: str
    users: int
    jobs: int
    transfers: int
    audit_entries: int
    audit_hash: str
    drifted: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """`name` is what `pg_dump` is told, as long as the picture is open."""

    connection: Connection
    tx: PostgresTx
    name: str

    async def figures(self) -> Figures:
        counts = await one(self.connection, COUNTS, {})
        assert counts is not None
        head = await self.tx.audit.head()
        drifted = tuple(kept.id for kept, _ in await self.tx.ledger.rebuild())
        return Figures(
            audit_entries=head.number, audit_hash=head.hash.hex(), drifted=drifted, **counts
        )

    async def blobs(self) -> list[Blob]:
        """Those whose bytes are whole."""
        return [blob_of_row(row) for row in await every(self.connection, STORED, {})]

    async def still_stored(self, blobs: Sequence[str]) -> tuple[str, ...]:
        """Which of these were not left in the meantime."""
        rows = await every(self.connection, STORED_STILL, {"ids": list(blobs)})
        return tuple(row["id"] for row in rows)


@asynccontextmanager
async def picture(dsn: str) -> AsyncIterator[Picture]:
    """Open until it is left; writers are not kept waiting."""
    connection = await StoreConnection.connect(dsn, autocommit=True, row_factory=dict_row)
    async with connection:
        await connection.execute(BEGIN.encode())
        row = await one(connection, EXPORT, {})
        assert row is not None
        yield Picture(connection, PostgresTx(connection), row["name"])
        await connection.execute(b"ROLLBACK")
