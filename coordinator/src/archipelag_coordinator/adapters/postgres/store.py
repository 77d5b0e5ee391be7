"""PostgreSQL as `Store` and `Door`: a pool of connections, one transaction at a time on each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from archipelag_coordinator.adapters.postgres import door
from archipelag_coordinator.adapters.postgres.attempts import PostgresAttempts
from archipelag_coordinator.adapters.postgres.cargos import PostgresCargos
from archipelag_coordinator.adapters.postgres.coordinators import PostgresCoordinators
from archipelag_coordinator.adapters.postgres.islands import PostgresIslands
from archipelag_coordinator.adapters.postgres.jobs import PostgresJobs
from archipelag_coordinator.adapters.postgres.ledger import PostgresLedger
from archipelag_coordinator.adapters.postgres.rows import Connection
from archipelag_coordinator.adapters.postgres.users import PostgresKeys, PostgresUsers
from archipelag_coordinator.errors import Conflict
from archipelag_coordinator.services.ports import Admission

log = logging.getLogger(__name__)

# Nothing of ours takes long; what does is stuck, and holds locks that others wait for.
LIMITS: Final = (
    "-c statement_timeout=15s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s "
    "-c timezone=UTC"
)
POOL_MAX: Final = 16
POOL_WAIT_S: Final = 10.0
QUEUE_MAX: Final = 1_000
UNREACHABLE: Final = (psycopg.OperationalError,)
"""What is raised when the database cannot be reached, not in time, or a transaction must be tried again."""


class PostgresTx:
    """Every noun's rows, over one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.users = PostgresUsers(connection)
        self.keys = PostgresKeys(connection)
        self.cargos = PostgresCargos(connection)
        self.islands = PostgresIslands(connection)
        self.jobs = PostgresJobs(connection)
        self.attempts = PostgresAttempts(connection)
        self.ledger = PostgresLedger(connection)
        self.coordinators = PostgresCoordinators(connection)


class PostgresStore:
    """`async with PostgresStore(dsn) as store`. The schema must stand already: see `migrate`."""

    def __init__(self, dsn: str, *, pool_max: int = POOL_MAX) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            connection_class=AsyncConnection,
            kwargs={"row_factory": dict_row, "options": LIMITS},
            min_size=min(2, pool_max),
            max_size=pool_max,
            max_waiting=QUEUE_MAX,
            timeout=POOL_WAIT_S,
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
        await self._pool.open(wait=True, timeout=POOL_WAIT_S)

    async def close(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._pool.close()

    async def checked(self) -> None:
        """Returns once no check of the connections is under way."""
        if self._checking is not None:
            await asyncio.gather(self._checking, return_exceptions=True)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[PostgresTx]:
        try:
            async with self._connection() as connection:
                yield PostgresTx(connection)
        except psycopg.IntegrityError as error:
            # The database's own guard said no, below ours: keys that stand, references that do not.
            constraint = error.diag.constraint_name or type(error).__name__
            raise Conflict(f"the database refused this: {constraint}") from error

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int
    ) -> Admission | None:
        async with self._autocommitting() as connection:
            return await door.admit(connection, key_hash, now, requests_per_minute)

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        async with self._autocommitting() as connection:
            return await door.count(connection, bucket, now, per_minute)

    async def prune_rates(self, now: datetime) -> int:
        """Removes rate counters that have run empty; returns how many."""
        async with self._autocommitting() as connection:
            return await door.prune(connection, now)

    @asynccontextmanager
    async def _autocommitting(self) -> AsyncIterator[Connection]:
        """A connection on which a single statement costs a single round trip."""
        async with self._connection() as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                await connection.set_autocommit(False)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except UNREACHABLE:
            # After a restart of the database every idle connection is dead. The first error is enough: without this,
            # each of them would cost some customer a 503, long after the database is back.
            if self._checking is None or self._checking.done():
                self._checking = asyncio.create_task(self._check(), name="check connections")
            raise

    async def _check(self) -> None:
        try:
            await self._pool.check()
        except UNREACHABLE as error:
            log.warning("connections_not_checked error=%r", error)
