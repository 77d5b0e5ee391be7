"""Which Coordinator processes are alive, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.adapters.postgres.leader import LOCK
from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every, one
from archipelag_coordinator.domain.health import Seen

BEAT: Final = """
    INSERT INTO coordinators (relay, seen_at, region) VALUES (%(relay)s, %(now)s, %(region)s)
    ON CONFLICT (relay) DO UPDATE SET seen_at = greatest(coordinators.seen_at, excluded.seen_at)
"""
ALIVE: Final = "SELECT relay FROM coordinators WHERE seen_at >= %(since)s ORDER BY relay"
REGIONS: Final = """
    SELECT relay, region FROM coordinators WHERE seen_at >= %(since)s AND region <> '' ORDER BY relay
"""
SEEN: Final = (
    "SELECT relay, seen_at AS at FROM coordinators ORDER BY seen_at DESC, relay DESC LIMIT 100"
)
# A lock by one 64-bit number is shown as its two halves, in the database that it belongs to.
HAS_LEADER: Final = """
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND classid::bigint = %(high)s AND objid::bigint = %(low)s
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) AS leads
"""
LEAVE: Final = "DELETE FROM coordinators WHERE relay = %(relay)s"


class PostgresCoordinators:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def beat(self, relay: RelayId, now: datetime, region: str = "") -> None:
        values = {"relay": relay, "now": now, "region": region}
        await changed(self._connection, BEAT, values)

    async def leave(self, relay: RelayId) -> None:
        await changed(self._connection, LEAVE, {"relay": relay})

    async def alive(self, since: datetime) -> list[RelayId]:
        rows = await every(self._connection, ALIVE, {"since": since})
        return [row["relay"] for row in rows]

    async def regions(self, since: datetime) -> dict[RelayId, str]:
        rows = await every(self._connection, REGIONS, {"since": since})
        return {row["relay"]: row["region"] for row in rows}

    async def seen(self) -> list[Seen]:
        return [Seen(**row) for row in await every(self._connection, SEEN, {})]

    async def has_leader(self) -> bool:
        values = {"high": LOCK >> 32, "low": LOCK & 0xFFFFFFFF}
        row = await one(self._connection, HAS_LEADER, values)
        assert row is not None
        return bool(row["leads"])
