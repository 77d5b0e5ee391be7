"""PostgreSQL as `Store` and `Door`: a pool of connections, one transaction at a time on each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from archipelag_coordinator.adapters.postgres import door, figures
from archipelag_coordinator.adapters.postgres.ahead import REFUSALS, StoreConnection
from archipelag_coordinator.adapters.postgres.attempts import PostgresAttempts
from archipelag_coordinator.adapters.postgres.audit import PostgresAuditLog
from archipelag_coordinator.adapters.postgres.batches import PostgresBatches
from archipelag_coordinator.adapters.postgres.cargos import PostgresCargos
from archipelag_coordinator.adapters.postgres.conversations import PostgresConversations
from archipelag_coordinator.adapters.postgres.coordinators import PostgresCoordinators
from archipelag_coordinator.adapters.postgres.files import PostgresFiles
from archipelag_coordinator.adapters.postgres.flusher import FLUSH, SERVER, Flusher, Witness
from archipelag_coordinator.adapters.postgres.islands import PostgresIslands
from archipelag_coordinator.adapters.postgres.items import PostgresItems
from archipelag_coordinator.adapters.postgres.jobs import PostgresJobs
from archipelag_coordinator.adapters.postgres.karma import PostgresKarmaNotes
from archipelag_coordinator.adapters.postgres.ledger import PostgresLedger
from archipelag_coordinator.adapters.postgres.lines import PostgresLines
from archipelag_coordinator.adapters.postgres.links import PostgresLinks
from archipelag_coordinator.adapters.postgres.patience import KEEPALIVE, hang_up, patience
from archipelag_coordinator.adapters.postgres.rows import Connection, one
from archipelag_coordinator.adapters.postgres.sign_ins import PostgresIdentities, PostgresSignIns
from archipelag_coordinator.adapters.postgres.sums import PostgresSums
from archipelag_coordinator.adapters.postgres.usage import PostgresUsages
from archipelag_coordinator.adapters.postgres.users import PostgresKeys, PostgresUsers
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.services.ports import Admission, OnDisk

log = logging.getLogger(__name__)

# Nothing of ours takes long; what does is stuck, and holds locks that others wait for. A Coordinator whose machine is
# gone in mid-transaction holds them no longer than it counts as alive.
LIMITS: Final = (
    "-c statement_timeout=15s -c lock_timeout=10s -c idle_in_transaction_session_timeout=10s "
    "-c timezone=UTC"
)
POOL_MAX: Final = 16
POOL_WAIT_S: Final = 5.0
START_S: Final = 10.0
AWAY_WAIT_S: Final = 1.0
"""How long to wait for a connection while the database is known to be out of reach."""
HELD_MAX_S: Final = 25.0
"""Longer than any transaction may take by the server's own limits: it does not answer."""
RETRY_S: Final = 3.0
"""The pool doubles the time between its tries; after so long it begins anew, to be back soon after the database."""
QUEUE_MAX: Final = 1_000
UNREACHABLE: Final = (psycopg.OperationalError,)
"""What is raised when the database cannot be reached, not in time, or a transaction must be tried again."""


# One round trip: whether anything was written or locked (only then is there an id), and the end of the transaction.
ASK_AND_COMMIT: Final = b"SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS wrote; COMMIT"
TO_DISK: Final = b"SET LOCAL synchronous_commit TO DEFAULT"
ASK_AND_COMMIT_TO_DISK: Final = TO_DISK + b"; " + ASK_AND_COMMIT
COMMIT: Final = b"COMMIT"


class _OnDisk:
    """Waits for one commit that was not waited for when it was made."""

    def __init__(self) -> None:
        self.flush: OnDisk | None = None
        """None: it was made on disk, or wrote nothing."""

    async def __call__(self) -> None:
        if self.flush is not None:
            await self.flush()


class PostgresTx:
    """Every noun's rows, over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.relied_upon = False
        self.ahead: _OnDisk | None = None
        self.connection = connection
        self.users = PostgresUsers(connection)
        self.keys = PostgresKeys(connection)
        self.cargos = PostgresCargos(connection)
        self.islands = PostgresIslands(connection)
        self.jobs = PostgresJobs(connection)
        self.items = PostgresItems(connection)
        self.attempts = PostgresAttempts(connection)
        self.ledger = PostgresLedger(connection)
        self.usage = PostgresUsages(connection)
        self.karma = PostgresKarmaNotes(connection)
        self.coordinators = PostgresCoordinators(connection)
        self.files = PostgresFiles(connection)
        self.conversations = PostgresConversations(connection)
        self.sign_ins = PostgresSignIns(connection)
        self.identities = PostgresIdentities(connection)
        self.audit = PostgresAuditLog(connection)
        self.batches = PostgresBatches(connection)
        self.sums = PostgresSums(connection)
        self.lines = PostgresLines(connection)
        self.links = PostgresLinks(connection)

    def ahead_of_disk(self) -> OnDisk:
        self.ahead = _OnDisk()
        return self.ahead

    def rely(self) -> None:
        """Leaving waits for the disk although nothing was written."""
        self.relied_upon = True


class PostgresStore:
    """`async with PostgresStore(dsn) as store`. The schema must stand already: see `migrate`.

    A transaction lets its locks go before it is on disk, and `begin` returns after it is: see `Flusher`. The address
    must lead to the server itself, or through a proxy that keeps a session on one server connection.
    """

    def __init__(
        self, dsn: str, *, pool_max: int = POOL_MAX, flusher: Flusher | None = None
    ) -> None:
        self._flusher = flusher or Flusher(dsn)
        self._flushing: asyncio.Task[None] | None = None
        self._flusher.on_away = self._hang_up
        self._in_use: set[StoreConnection] = set()
        self._pool: AsyncConnectionPool[StoreConnection] = AsyncConnectionPool(
            make_conninfo(dsn, **KEEPALIVE),
            connection_class=StoreConnection,
            kwargs={"row_factory": dict_row, "options": LIMITS},
            configure=_configure,
            min_size=min(2, pool_max),
            max_size=pool_max,
            max_waiting=QUEUE_MAX,
            timeout=POOL_WAIT_S,
            reconnect_timeout=RETRY_S,
            open=False,
            name="coordinator",
        )
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> PostgresStore:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Raises psycopg_pool.PoolTimeout when the database cannot be reached."""
        await self._pool.open(wait=True, timeout=START_S)
        self._flushing = asyncio.create_task(self._flusher.run())

    async def close(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._pool.close()
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)

    async def checked(self) -> None:
        """Returns once no check of the connections is under way."""
        if self._checking is not None:
            await asyncio.gather(self._checking, return_exceptions=True)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresTx]:
        try:
            async with self._connection() as connection:
                connection.begin()
                try:
                    tx = PostgresTx(connection)
                    yield tx
                    unsure = await self._commit(connection, tx)
                except REFUSALS as error:
                    why = connection.refused
                    if why is None:
                        raise
                    connection.forget()
                    await connection.rollback()
                    raise await why() from error
                finally:
                    connection.forget()
        except psycopg.IntegrityError as error:
            # The database's own guard said no, below ours: keys that stand, references that do not.
            constraint = error.diag.constraint_name or type(error).__name__
            raise Conflict(f"the database refused this: {constraint}") from error
        if unsure is None:
            return
        # Neither a lock nor a connection is held while waiting.
        if tx.ahead is None:
            await self._flusher.flush(unsure)
        else:
            tx.ahead.flush = partial(self._flusher.flush, unsure)

    async def _commit(self, connection: StoreConnection, tx: PostgresTx) -> Witness | None:
        """Commits, and names the witness by whom the commit is still to be brought to disk, if it must be."""
        if connection.asked_nothing:
            return None
        # Asked before the commit: only a connection from before it can vouch for it.
        witness = self._flusher.witness(connection.server)
        if connection.has_ahead:
            # What changes a row that many wait for goes with the COMMIT: it is locked for no round trip of ours.
            if witness is None:
                connection.later(TO_DISK)
            await connection.execute(COMMIT)
            return witness
        if witness is None and tx.relied_upon:
            await connection.execute(FLUSH)  # Now there is something to bring to disk.
        cursor = await connection.execute(ASK_AND_COMMIT if witness else ASK_AND_COMMIT_TO_DISK)
        while cursor.description is None and cursor.nextset():
            pass
        row = await cursor.fetchone()
        assert row is not None
        return witness if row["wrote"] or tx.relied_upon else None

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        async with self._connection() as connection:
            return await door.admit(connection, key_hash, now, requests_per_minute, passed)

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        async with self._connection() as connection:
            return await door.count(connection, bucket, now, per_minute)

    async def prune_rates(self, now: datetime) -> int:
        """Removes rate counters that have run empty; returns how many."""
        async with self._connection() as connection:
            return await door.prune(connection, now)

    async def books(self) -> figures.Books:
        """For whoever watches the ledger. Reads every account."""
        async with self._connection() as connection:
            return await figures.read_books(connection)

    async def server(self) -> figures.ServerFigures:
        """For whoever watches the database."""
        async with self._connection() as connection:
            return await figures.read_server(connection)

    def pool_counts(self) -> dict[str, int]:
        """Connections by state; `waiting` are those who ask for one."""
        told = self._pool.get_stats()
        open_now, idle = told.get("pool_size", 0), told.get("pool_available", 0)
        waiting = told.get("requests_waiting", 0)
        return {
            "busy": open_now - idle,
            "idle": idle,
            "most": self._pool.max_size,
            "waiting": waiting,
        }

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[StoreConnection]:
        """A connection on which a single statement is a transaction, which does not wait for the disk: that a key was
        used, and how often, may be forgotten by a crash."""
        wait_s = AWAY_WAIT_S if self._flusher.away else POOL_WAIT_S
        try:
            async with self._pool.connection(wait_s) as connection:
                self._in_use.add(connection)
                try:
                    with patience(connection, HELD_MAX_S):
                        yield connection
                finally:
                    self._in_use.discard(connection)
        except UNREACHABLE:
            # After a restart of the database every idle connection is dead. The first error is enough: without this,
            # each of them would cost some customer a 503, long after the database is back.
            if self._checking is None or self._checking.done():
                self._checking = asyncio.create_task(self._check(), name="check connections")
            raise

    def _hang_up(self) -> None:
        """The database is out of reach: nobody waits any longer for what it was asked before."""
        for connection in tuple(self._in_use):
            hang_up(connection)

    async def _check(self) -> None:
        try:
            await self._pool.check()
        except UNREACHABLE as error:
            log.warning("connections_not_checked error=%r", error)


async def _configure(connection: StoreConnection) -> None:
    """Once for each new connection. By SET, so that the server's own default can be returned to."""
    await connection.set_autocommit(True)  # Transactions are begun by `StoreConnection.begin`.
    await connection.execute("SET synchronous_commit TO off")
    row = await one(connection, SERVER, {})
    assert row is not None
    connection.server = row["server"]
