"""Which Coordinator processes are alive, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every

BEAT: Final = """
    INSERT INTO coordinators (relay, seen_at) VALUES (%(relay)s, %(now)s)
    ON CONFLICT (relay) DO UPDATE SET seen_at = greatest(coordinators.seen_at, excluded.seen_at)
"""
ALIVE: Final = "SELECT relay FROM coordinators WHERE seen_at >= %(since)s ORDER BY relay"
LEAVE: Final = "DELETE FROM coordinators WHERE relay = %(relay)s"


class PostgresCoordinators:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def beat(self, relay: RelayId, now: datetime) -> None:
        await changed(self._connection, BEAT, {"relay": relay, "now": now})

    async def leave(self, relay: RelayId) -> None:
        await changed(self._connection, LEAVE, {"relay": relay})

    async def alive(self, since: datetime) -> list[RelayId]:
        rows = await every(self._connection, ALIVE, {"since": since})
        return [row["relay"] for row in rows]
