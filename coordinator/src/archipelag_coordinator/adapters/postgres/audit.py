"""The audit log in PostgreSQL: rows that the database itself refuses to change, and where they end."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    Row,
    changed,
    every,
    inserts,
    one,
)
from archipelag_coordinator.domain.audit import Entry, Head, follow

_ENTRY: Final = ("number", "at", "actor", "act", "subject", "detail", "previous", "hash")
HEAD: Final = "SELECT number, hash FROM audit_head"
# Whoever comes second waits here, so that no two entries follow the same one.
LOCK_HEAD: Final = f"{HEAD} FOR UPDATE"
ADD: Final = inserts("audit_log", _ENTRY)
MOVE_HEAD: Final = "UPDATE audit_head SET number = %(number)s, hash = %(hash)s"
NEWEST: Final = """
    SELECT * FROM audit_log WHERE number < coalesce(%(before)s::bigint, 9223372036854775807)
    ORDER BY number DESC LIMIT %(limit)s
"""
LAST: Final = "SELECT at FROM audit_log WHERE act = %(act)s ORDER BY number DESC LIMIT 1"
AFTER: Final = """
    SELECT * FROM audit_log WHERE number > %(number)s ORDER BY number LIMIT %(limit)s
"""


class PostgresAuditLog:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def note(
        self, at: datetime, actor: str, act: str, subject: str, detail: str = ""
    ) -> Entry:
        entry = follow(await self._head(LOCK_HEAD), at, actor, act, subject, detail)
        values = {name: getattr(entry, name) for name in _ENTRY}
        await changed(self._connection, ADD, values)
        await changed(self._connection, MOVE_HEAD, values)
        return entry

    async def head(self) -> Head:
        return await self._head(HEAD)

    async def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        rows = await every(self._connection, NEWEST, {"limit": limit, "before": before})
        return [_entry(row) for row in rows]

    async def last(self, act: str) -> datetime | None:
        row = await one(self._connection, LAST, {"act": act})
        return row["at"] if row else None

    async def after(self, number: int, limit: int) -> list[Entry]:
        rows = await every(self._connection, AFTER, {"limit": limit, "number": number})
        return [_entry(row) for row in rows]

    async def _head(self, statement: str) -> Head:
        row = await one(self._connection, statement, {})
        assert row is not None
        return Head(row["number"], row["hash"])


def _entry(row: Row) -> Entry:
    return Entry(**{name: row[name] for name in _ENTRY})
