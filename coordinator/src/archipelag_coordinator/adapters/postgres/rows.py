"""Between rows and values: text that PostgreSQL can hold, JSON that it can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from archipelag_coordinator.adapters.postgres.ahead import StoreConnection, Why

Connection = StoreConnection
Row = DictRow
BIGINT_MAX: Final = 2**63 - 1
INTEGER_MAX: Final = 2**31 - 1
DEPTH_MAX: Final = 20


def plain(text: str) -> str:
    """Without what PostgreSQL cannot hold in text: U+0000 and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def jsonb(value: Any) -> Jsonb:
    """What strangers say of themselves, made fit to store: one hostile Island must not spoil a batch."""
    return Jsonb(_fit(value), dumps=_dumps)


def finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def at_most(number: int, most: int) -> int:
    return max(-most, min(number, most))


async def one(connection: Connection, statement: str, values: Mapping[str, Any]) -> Row | None:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchone()


async def every(connection: Connection, statement: str, values: Mapping[str, Any]) -> list[Row]:
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchall()


async def changed(connection: Connection, statement: str, values: Mapping[str, Any]) -> int:
    """How many rows the statement touched."""
    cursor = await connection.execute(statement.encode(), values)
    return cursor.rowcount


def later(
    connection: Connection, statement: str, values: Mapping[str, Any], why: Why | None = None
) -> None:
    """Travels with the next statement, which raises its error: for one whose answer nobody needs. `why`: what it means
    where it refuses, raised instead at the end of the transaction."""
    connection.later(statement.encode(), values, why)


def inserts(table: str, columns: Sequence[str], *, beyond: str = "") -> str:
    """An INSERT of every column by its name."""
    names = ", ".join(columns)
    places = ", ".join(f"%({column})s" for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({places}) {beyond}"


def assigns(columns: Sequence[str]) -> str:
    return ", ".join(f"{column} = %({column})s" for column in columns)


def _fit(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        return None
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {plain(str(key)): _fit(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fit(one, depth + 1) for one in value]
    return value


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
