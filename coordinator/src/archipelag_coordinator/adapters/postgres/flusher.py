"""Waits for the disk on behalf of many transactions at once, after their locks are let go.

The store's connections commit without waiting (`synchronous_commit = off`), so that a hot row is free again at once.
PostgreSQL writes its log in order: once one later commit is on disk, so is everything before it. The flusher makes that
later commit, one for all who wait at the moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from archipelag_coordinator.adapters.postgres.patience import KEEPALIVE, connected, patience

log = logging.getLogger(__name__)

FLUSH_S: Final = 6.0
PING_S: Final = 1.0
"""How often an idle connection is asked whether it still stands."""
PONG_S: Final = 2.0
CONNECT_S: Final = 2
AGAIN_S: Final = 0.5
"""Between two tries to connect. Until one succeeds, transactions wait for the disk themselves."""
# A transaction of its own that writes to the log, so that its commit waits for the disk as the server is set to wait,
# and for the standby where there is one.
FLUSH: Final = b"SELECT pg_logical_emit_message(true, 'archipelag', '')"
PING: Final = b"SELECT 1"
SERVER: Final = "SELECT pg_postmaster_start_time()::text AS server"
"""Which run of which server a connection reached."""

Error = psycopg.Error | TimeoutError
Round = asyncio.Future[Error | None]
"""What those who wait for the same flush wait for: None when all is on disk, else what went wrong."""


class NotDurable(psycopg.OperationalError):
    """The transaction was committed, but the server was lost before it was known to be on disk: it may stand or not."""


class Witness:
    """One connection of the flusher, for as long as it lives.

    It vouches only for what was committed while it lived, on the server that it is connected to: had that server
    crashed in between and forgotten the commit, the connection would have gone with it.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.lost: Error | None = None


class Flusher:
    """`run` serves until it is cancelled. Ask for the `witness` before a commit; `flush` by it afterwards.

    It asks its connection every second, so that it is the first to know when the server is out of reach: `on_away`.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = make_conninfo(dsn, **KEEPALIVE | {"connect_timeout": str(CONNECT_S)})
        self.away = False
        """Its connection was lost, and another one could not be made."""
        self.on_away: Callable[[], None] | None = None
        self._witness: Witness | None = None
        self._round: Round | None = None
        self._wanted = asyncio.Event()
        self._turned = asyncio.Event()

    def witness(self, server: str) -> Witness | None:
        """Who can vouch for a commit that is made on this server now. None: let the commit wait for the disk."""
        if self._witness is not None and self._witness.server != server:
            self._wanted.set()  # One of the two connections is of the past: let ours find out.
            return None
        return self._witness

    async def flush(self, witness: Witness) -> None:
        """Returns once everything that was committed before this call is on disk. Raises NotDurable."""
        lost = witness.lost
        if lost is None:
            if self._round is None:
                self._round = asyncio.get_running_loop().create_future()
                self._wanted.set()
            # Shielded: one who gives up waiting does not take the others' round away.
            lost = await asyncio.shield(self._round)
        if lost is not None:
            raise NotDurable(
                "the database was lost before this was known to be on disk; try again"
            ) from lost

    async def run(self) -> None:
        while True:
            witness: Witness | None = None
            lost: Error = psycopg.OperationalError("the store was closed")
            try:
                async with await connected(self._dsn) as connection:
                    cursor = await connection.execute(SERVER.encode())
                    row = await cursor.fetchone()
                    assert row is not None
                    self.away = False
                    witness = self._witness = Witness(row[0])
                    self._turned.set()
                    await self._serve(connection)
            except (psycopg.Error, TimeoutError) as error:
                lost = error
                if witness is None:
                    self._is_away(error)
                else:
                    log.warning("flusher_connection_lost error=%r", error)
            finally:
                self._witness = None
                if witness is not None:
                    witness.lost = lost
                _end(self._round, lost)
                self._round = None
            # The first try comes soon: only its failure tells a server that is away from a lost connection.
            await asyncio.sleep(AGAIN_S * random.uniform(0.5, 1.5) if witness is None else 0.05)

    def _is_away(self, error: Error) -> None:
        if not self.away:
            log.warning("database_out_of_reach error=%s", error)
        self.away = True
        if self.on_away is not None:
            self.on_away()

    async def wait_ready(self) -> None:
        """Returns once it has been connected."""
        await self._turned.wait()

    async def _serve(self, connection: AsyncConnection) -> None:
        """One round after the other: who comes while one is under way shares the next. Ends by an error."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    await self._wanted.wait()
            self._wanted.clear()
            taken, self._round = self._round, None
            try:
                with patience(connection, PONG_S if taken is None else FLUSH_S):
                    await connection.execute(PING if taken is None else FLUSH)
            except (psycopg.Error, TimeoutError) as error:
                _end(taken, error)
                raise
            except asyncio.CancelledError:
                _end(taken, psycopg.OperationalError("the store was closed"))
                raise
            _end(taken, None)


def _end(taken: Round | None, lost: Error | None) -> None:
    if taken is not None and not taken.done():
        taken.set_result(lost)
