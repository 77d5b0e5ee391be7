"""Karma notes in PostgreSQL. `attempts` writes them with the attempt's end."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.adapters.postgres.rows import Connection, every
from archipelag_coordinator.domain.karma import Note, NoteKind, Tally

OF_ISLAND: Final = """
    SELECT * FROM karma_notes WHERE island_id = %(island)s
    ORDER BY at DESC, job_id DESC, epoch DESC LIMIT %(limit)s OFFSET %(offset)s
"""
TALLY: Final = """
    SELECT kind, count(*) AS count, sum(points_ms)::bigint AS points_ms
    FROM karma_notes WHERE island_id = %(island)s GROUP BY kind ORDER BY kind
"""


class PostgresKarmaNotes:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[Note]:
        values = {"island": island, "limit": limit, "offset": offset}
        rows = await every(self._connection, OF_ISLAND, values)
        return [Note(**row | {"kind": NoteKind(row["kind"])}) for row in rows]

    async def tally(self, island: IslandId) -> list[Tally]:
        rows = await every(self._connection, TALLY, {"island": island})
        return [Tally(NoteKind(row["kind"]), row["count"], row["points_ms"]) for row in rows]
