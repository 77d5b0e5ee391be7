"""What must change in a database that came out of a backup before a Coordinator may run on it.

The network went on after the backup was made: Islands hold attempts, reports and a catalogue that these rows do not
know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from archipelag_coordinator.adapters.postgres.ahead import StoreConnection
from archipelag_coordinator.adapters.postgres.migrate import LOCK
from archipelag_coordinator.adapters.postgres.rows import changed
from archipelag_coordinator.adapters.postgres.store import PostgresTx
from archipelag_coordinator.domain.attempt import TAKEN_BACK
from archipelag_coordinator.domain.job import EPOCHS_APART

CATALOGUES_APART: Final = 1_000_000
"""More versions than a network issues between a backup and its restoring."""

RELATIONS: Final = """
    SELECT count(*) AS count FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
SERVER: Final = "SELECT current_setting('server_version_num')::int / 10000 AS major"
# Counted on from above all that Islands may have seen. An attempt under way gets a number that none of them ever had:
# what they say of it is refused, and its lease has run out.
_ABOVE: Final = "(epoch / %(apart)s + 1) * %(apart)s"
TAKE_BACK: Final = f"""
    UPDATE attempts SET epoch = {_ABOVE}, lease_until = %(taken_back)s
    WHERE status IN ('assigned', 'running')
"""
COUNT_ON: Final = f"UPDATE jobs SET epoch = {_ABOVE} WHERE status IN ('queued', 'running')"
# None of their processes is there any more; whoever starts takes their jobs over at once.
NOBODY_HOME: Final = "DELETE FROM coordinators"
# What was used once since the backup could be used again.
NO_LINKS: Final = "DELETE FROM sign_ins"
NO_CODES: Final = "DELETE FROM pairing_codes WHERE used_by IS NULL"
END_SESSIONS: Final = """
    UPDATE api_keys SET revoked_at = now() WHERE kind = 'session' AND revoked_at IS NULL
"""
# Islands believe no catalogue older than theirs. An empty version far above is followed at once by a signed one.
CATALOGUE_APART: Final = """
    INSERT INTO catalogue_documents (version, document, contents, issued_at, expires_at)
    SELECT max(version) + %(apart)s, ''::bytea, decode(repeat('00', 32), 'hex'), now(), now() + interval '1 ms'
    FROM catalogue_documents HAVING count(*) > 0
"""
# New sessions cannot write, a Coordinator's least of all, until all of it is done; those that restore say otherwise.
CLOSE: Final = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
OPEN: Final = sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only")
GUARD_OFF: Final = "ALTER TABLE catalogue_documents DISABLE TRIGGER catalogue_rises"
GUARD_ON: Final = "ALTER TABLE catalogue_documents ENABLE TRIGGER catalogue_rises"


@dataclass(frozen=True)
class Taken:
    """What was changed in a restored database."""

    attempts_taken_back: int
    jobs_unfinished: int
    sessions_ended: int


class NotEmpty(RuntimeError):
    """There is something in the database already."""


def server_major(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        row = connection.execute(SERVER.encode()).fetchone()
        assert row is not None
        return int(row["major"])


def writable(dsn: str) -> str:
    """The address, for those who write while the database is closed to others."""
    return make_conninfo(dsn, options="-c default_transaction_read_only=off")


class Restoring:
    """Held while a backup comes back: no migration begins meanwhile, and nobody else may write, until `opening` ends.
    Raises NotEmpty where something is there."""

    def __init__(self, dsn: str) -> None:
        self._guard = psycopg.connect(writable(dsn), autocommit=True, row_factory=dict_row)

    def __enter__(self) -> None:
        self._guard.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        row = self._guard.execute(RELATIONS.encode(), {}).fetchone()
        assert row is not None
        if row["count"]:
            self._guard.close()
            raise NotEmpty(
                f"the database is not empty ({row['count']} tables, indexes and sequences): restore into one that is, "
                "made by `CREATE DATABASE`; nothing was changed"
            )
        self._guard.execute(CLOSE.format(self._name))

    def __exit__(self, failed: object, *_: object) -> None:
        if failed:
            self._guard.execute(OPEN.format(self._name))
        self._guard.close()

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(self._guard.info.dbname)


@asynccontextmanager
async def opening(dsn: str) -> AsyncIterator[PostgresTx]:
    """One transaction, at whose end the database is open to others."""
    connection = await StoreConnection.connect(writable(dsn), autocommit=True, row_factory=dict_row)
    async with connection, connection.transaction():
        yield PostgresTx(connection)
        await connection.execute(OPEN.format(sql.Identifier(connection.info.dbname)))


async def take_back(tx: PostgresTx, *, end_sessions: bool) -> Taken:
    """What of the backup must not stay as it was: see the statements."""
    connection = tx.connection
    values = {"apart": EPOCHS_APART, "taken_back": TAKEN_BACK}
    attempts = await changed(connection, TAKE_BACK, values)
    jobs = await changed(connection, COUNT_ON, values)
    for statement in (NOBODY_HOME, NO_LINKS, NO_CODES):
        await changed(connection, statement, {})
    sessions = await changed(connection, END_SESSIONS, {}) if end_sessions else 0
    await connection.execute(GUARD_OFF.encode())
    await changed(connection, CATALOGUE_APART, {"apart": CATALOGUES_APART})
    await connection.execute(GUARD_ON.encode())
    return Taken(attempts, jobs, sessions)
