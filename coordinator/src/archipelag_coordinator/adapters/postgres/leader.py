"""Which Coordinator leads: the one whose connection holds an advisory lock; who loses the connection leads no more."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from archipelag_coordinator.adapters.postgres.patience import KEEPALIVE, connected, patience

log = logging.getLogger(__name__)

LOCK: Final = 0x41524348_00000002
CHECK_S: Final = 2.0
"""A leader asks its connection this often whether it still stands; others ask for the lock as often."""
ANSWER_S: Final = 2.0
SETTLED_S: Final = 10.0
"""After an outage of the database everybody's last sign of life is old: so long they have to give another."""
STILL_S: Final = 10.0
"""After so long without a question the server ends the connection, and its lock with it. A machine that is gone without
a word would otherwise lead until the server's system finds its connection dead, hours later."""
TRY: Final = b"SELECT pg_try_advisory_lock(%s)"
HOLDS: Final = b"""
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
"""


class Leader:
    """`run` stands for election until it is cancelled; `is_leader` is the answer at this moment.

    Two may believe that they lead for as long as a dead connection goes unnoticed (`CHECK_S + ANSWER_S`, and while one
    of them stands still): what leaders do is guarded row by row, so that it costs work and harms nothing.
    """

    def __init__(self, dsn: str, *, check_s: float = CHECK_S, still_s: float = STILL_S) -> None:
        limit = f"-c idle_session_timeout={int(still_s * 1000)}"
        self._conninfo = make_conninfo(dsn, **KEEPALIVE, options=limit)
        self._check_s = check_s
        self._leads = False
        self._since = 0.0
        self._changed = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        return self._leads

    @property
    def is_settled(self) -> bool:
        """Leads for long enough to tell who is dead from who could not write."""
        return self._leads and time.monotonic() - self._since >= SETTLED_S

    async def wait_leader(self) -> None:
        """Returns once this process leads."""
        await self._wait_until(True)

    async def wait_follower(self) -> None:
        """Returns once this process does not lead."""
        await self._wait_until(False)

    async def run(self) -> None:
        while True:
            try:
                # Apart from the pool: the lock lives exactly as long as this connection does.
                connection = await connected(self._conninfo)
                async with connection:
                    await self._stand(connection)
            except (psycopg.Error, TimeoutError) as error:
                log.warning("leader_connection_lost error=%r", error)
            finally:
                self._set(False)
            await asyncio.sleep(self._check_s * random.uniform(0.5, 1.5))

    async def _stand(self, connection: AsyncConnection) -> None:
        """Asks for the lock and then again and again whether it is held. Ends by an error only."""
        while True:
            with patience(connection, ANSWER_S):
                statement = HOLDS if self._leads else TRY
                values = None if self._leads else [LOCK]
                row = await (await connection.execute(statement, values)).fetchone()
            assert row is not None
            self._set(bool(row[0]))
            await asyncio.sleep(self._check_s)

    async def _wait_until(self, leads: bool) -> None:
        while self._leads is not leads:
            self._changed.clear()
            await self._changed.wait()

    def _set(self, leads: bool) -> None:
        if leads is not self._leads:
            log.info("leader_elected" if leads else "leader_stepped_down")
            self._leads = leads
            self._since = time.monotonic()
            self._changed.set()
