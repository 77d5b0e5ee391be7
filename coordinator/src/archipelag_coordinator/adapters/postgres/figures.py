"""How the database is and what its books say: a few statements for whoever watches, none of them on a request's way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from archipelag_coordinator.adapters.postgres.rows import Connection, every, one

# People's accounts by kind, the network's own by name.
BALANCES: Final = """
    SELECT CASE
            WHEN id LIKE 'platform:%%' THEN split_part(substr(id, 10), '#', 1)
            ELSE split_part(id, ':', 1)
        END AS account,
        sum(balance)::bigint AS balance
    FROM accounts GROUP BY 1
"""
# What is held and what is reserved in one statement, and so at one moment.
RESERVED: Final = """
    SELECT count(*) AS count, coalesce(sum(amount), 0)::bigint AS amount,
        coalesce((SELECT sum(held) FROM accounts), 0)::bigint AS held,
        coalesce(extract(epoch FROM now() - min(expires_at)), 0)::float8 AS overdue_s
    FROM reservations WHERE status = 'pending'
"""
SERVER: Final = """
    SELECT numbackends AS connections, xact_commit AS commits, xact_rollback AS rollbacks, deadlocks, blks_hit,
        blks_read, temp_bytes, pg_database_size(datid) AS size_bytes,
        current_setting('max_connections')::int AS connections_max, extract(epoch FROM clock_timestamp())::float8 AS now
    FROM pg_stat_database WHERE datname = current_database()
"""
BUSY: Final = """
    SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::float8 AS oldest_s,
        count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Books:
    """Every account as it stands, added up anew. Amounts in micro-credits."""

    balances: Mapping[str, int]
    """By kind of account, or the name of one of the network's own."""
    held: int
    reserved: int
    """What unfinished jobs hold, by their reservations: must equal `held`."""
    reservations: int
    reservation_overdue_s: float
    """How long the oldest pending reservation is past its time; negative: it is not."""

    @property
    def sum(self) -> int:
        """0, or the books do not balance."""
        return sum(self.balances.values())


@dataclass(frozen=True)
class ServerFigures:
    counts: Mapping[str, int]
    transaction_oldest_s: float
    waiting_for_locks: int
    now: float
    """Seconds since 1970, by the server's own clock."""


async def read_books(connection: Connection) -> Books:
    """Reads every account: for once a minute."""
    accounts = await every(connection, BALANCES, {})
    reserved = await one(connection, RESERVED, {})
    assert reserved is not None
    return Books(
        balances={row["account"]: row["balance"] for row in accounts},
        held=reserved["held"],
        reserved=reserved["amount"],
        reservations=reserved["count"],
        reservation_overdue_s=reserved["overdue_s"],
    )


async def read_server(connection: Connection) -> ServerFigures:
    """Reads what the server counts anyway."""
    server = await one(connection, SERVER, {})
    busy = await one(connection, BUSY, {})
    assert server is not None and busy is not None
    return ServerFigures(
        counts=dict(server),
        transaction_oldest_s=busy["oldest_s"],
        waiting_for_locks=busy["waiting"],
        now=server["now"],
    )
