"""Links between regions that were taken back, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_coordinator.adapters.postgres.rows import Connection, changed, every
from archipelag_coordinator.domain.link import Link

TAKE_BACK: Final = """
    INSERT INTO links_taken_back (region, number, taken_back_at)
    VALUES (%(region)s, %(number)s, %(now)s) ON CONFLICT (region, number) DO NOTHING
"""
TAKEN_BACK: Final = "SELECT region, number FROM links_taken_back ORDER BY region, number"


class PostgresLinks:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take_back(self, link: Link, now: datetime) -> bool:
        values = {"region": link.region, "number": link.number, "now": now}
        return await changed(self._connection, TAKE_BACK, values) == 1

    async def taken_back(self) -> list[Link]:
        return [Link(**row) for row in await every(self._connection, TAKEN_BACK, {})]
