"""PostgreSQL: whether it can be reached, has our schema, is not stuck; its clock, the chores and the ledger in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import psycopg
from archipelag_contracts.findings import Finding, fail, ok, warn
from psycopg.rows import dict_row

from archipelag_coordinator.adapters.postgres.migrate import Stage, heads, missing
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor import ends
from archipelag_coordinator.doctor.speed import answers, clock_finding

CONNECT_S: Final = 5
QUERY_MS: Final = 10_000
VERSION_MIN: Final = 15
WAIT_WARN_S: Final = 10
IDLE_WARN_S: Final = 60
SILENT_S: Final = 60.0
LATE_S: Final = 300.0
"""A chore is due every minute; so long without one, nobody does them."""
LISTED_MAX: Final = 5
BESIDE_POOL: Final = 6
"""Connections of a Coordinator beside its pool: the leader's lock, the flusher's, at most 4 of the chores."""
SUPERUSERS: Final = 3
"""What PostgreSQL keeps for them."""

STUCK: Final = """
    SELECT pid, left(query, 80) AS query, pg_blocking_pids(pid) AS behind,
        extract(epoch FROM clock_timestamp() - state_change)::float AS waited_s
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND clock_timestamp() - state_change > make_interval(secs => %(waited_s)s)
    ORDER BY state_change LIMIT %(limit)s
"""
IDLE: Final = """
    SELECT pid, extract(epoch FROM clock_timestamp() - state_change)::float AS idle_s
    FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%%'
        AND clock_timestamp() - state_change > make_interval(secs => %(idle_s)s)
    ORDER BY state_change LIMIT %(limit)s
"""
CONNECTIONS: Final = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS taken,
        current_setting('max_connections')::int AS most
"""
CHORES: Final = """
    SELECT
        (SELECT extract(epoch FROM clock_timestamp()) - max(defer_timestamp)
            FROM procrastinate_periodic_defers)::float AS since_s,
        (SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed')::int AS failed,
        (SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo'
            AND coalesce(scheduled_at, clock_timestamp()) < clock_timestamp() - interval '5 minutes')::int AS late
"""
Asked = psycopg.AsyncConnection[dict[str, Any]]


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    try:
        connection = await psycopg.AsyncConnection.connect(
            settings.database_url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_S,
            options=f"-c statement_timeout={QUERY_MS}",
        )
    except psycopg.Error as error:
        advice = (
            "check ARCHIPELAG_DATABASE_URL, that PostgreSQL runs and listens there, and that its pg_hba.conf lets this "
            "user in"
        )
        return [fail("database", str(error).strip().replace("\n", "; "), advice)]
    async with connection:
        try:
            return [
                *await _server(connection, settings, clock),
                *await _schema(connection, settings, clock),
            ]
        except psycopg.Error as error:
            advice = "the user of ARCHIPELAG_DATABASE_URL must own the database; see its log"
            return [fail("database", str(error).strip().replace("\n", "; "), advice)]


async def _server(connection: Asked, settings: Settings, clock: Clock) -> list[Finding]:
    number = connection.info.server_version // 10_000
    found = [ok("database", f"PostgreSQL {number} at {connection.info.host}")]
    if number < VERSION_MIN:
        advice = f"upgrade to {VERSION_MIN} or newer"
        found = [fail("database", f"PostgreSQL {number} is too old", advice)]
    taken = await _one(connection, CONNECTIONS)
    left = taken["most"] - taken["taken"]
    said = f"{taken['taken']} of {taken['most']} taken"
    if left < settings.database_pool_max:
        advice = "raise max_connections, or lower ARCHIPELAG_DATABASE_POOL_MAX of each Coordinator"
        found.append(
            warn(
                "connections",
                f"{said}; a Coordinator may want {settings.database_pool_max}",
                advice,
            )
        )
    else:
        found.append(ok("connections", said))
    nearer = "put the Coordinator nearer to it, or see what keeps the server busy: each request asks it several times"
    ask = partial(connection.execute, "SELECT 1")
    found.append(await answers("database time", ask, clock, nearer))
    there = (await _one(connection, "SELECT clock_timestamp() AS now"))["now"]
    found.append(clock_finding("clock", "database", (clock.now() - there).total_seconds()))
    return [*found, *await _locks(connection)]


async def _locks(connection: Asked) -> list[Finding]:
    found = []
    values = {"waited_s": WAIT_WARN_S, "limit": LISTED_MAX}
    for row in await _all(connection, STUCK, values):
        said = f"process {row['pid']} has waited {row['waited_s']:.0f} s for {row['behind']}: {row['query']}"
        advice = (
            f"look at pg_stat_activity; `SELECT pg_terminate_backend({row['behind'][0]})` ends who holds it up"
            if row["behind"]
            else "look at pg_locks"
        )
        found.append(warn("locks", said, advice))
    for row in await _all(connection, IDLE, {"idle_s": IDLE_WARN_S, "limit": LISTED_MAX}):
        said = f"process {row['pid']} has left a transaction open for {row['idle_s']:.0f} s"
        advice = "what it holds, others wait for: end that program, or set idle_in_transaction_session_timeout"
        found.append(warn("locks", said, advice))
    return found or [ok("locks", "nobody waits")]


async def _schema(connection: Asked, settings: Settings, clock: Clock) -> list[Finding]:
    """The rest is in our own tables."""
    exists = await _one(connection, "SELECT to_regclass('alembic_version') IS NOT NULL AS there")
    rows = (
        await _all(connection, "SELECT version_num FROM alembic_version") if exists["there"] else []
    )
    standing = {str(row["version_num"]) for row in rows}
    try:
        lacking = missing(standing)
    except KeyError as unknown:
        advice = "a newer Coordinator has migrated it: update this one"
        return [fail("schema", f"{unknown.args[0]} is not known to this version", advice)]
    named = ", ".join(sorted(standing)) or "none"
    newest = ", ".join(heads(Stage.PRE))
    if lacking[Stage.PRE]:
        return [fail("schema", f"{named}, not {newest}", "`archipelag-coordinator migrate`")]
    found = [ok("schema", f"the newest, {newest}")]
    if late := lacking[Stage.POST]:
        advice = "`archipelag-coordinator migrate --post`, once no older Coordinator runs"
        found = [warn("schema", f"{newest}, without {', '.join(late)}", advice)]
    most = (await _one(connection, CONNECTIONS))["most"]
    books = await _books(settings, clock, most)
    return [*found, await _chores(connection), *books, *await ends.kept(settings, clock)]


async def _chores(connection: Asked) -> Finding:
    """Background work that any of the Coordinators does: it is due every minute."""
    row: Mapping[str, Any] = await _one(connection, CHORES)
    if row["since_s"] is None or row["since_s"] > LATE_S:
        said = (
            "none was ever begun"
            if row["since_s"] is None
            else f"the last began {row['since_s'] / 60:.0f} min ago"
        )
        advice = (
            "no Coordinator does background work: start one with `archipelag-coordinator serve`, or see its log for "
            "chores_interrupted"
        )
        return warn("chores", said, advice)
    if row["failed"] or row["late"]:
        said = f"{row['failed']} failed for good, {row['late']} are late by more than 5 minutes"
        return warn(
            "chores", said, "see the Coordinators' logs, and procrastinate_jobs in the database"
        )
    return ok("chores", f"the last began {row['since_s']:.0f} s ago, none failed")


async def _books(settings: Settings, clock: Clock, most: int) -> list[Finding]:
    """Who is there, and whether every balance is what its entries say."""
    async with PostgresStore(settings.database_url, pool_max=2) as store, store.begin() as tx:
        alive = await tx.coordinators.alive(clock.now() - timedelta(seconds=SILENT_S))
        drifted = await tx.ledger.rebuild()
    found = [ok("Coordinators", f"{len(alive)} alive"), _pools(len(alive), settings, most)]
    if not alive:
        found = [
            warn(
                "Coordinators", "none has beaten within a minute", "`archipelag-coordinator serve`"
            )
        ]
    if drifted:
        kept, rebuilt = drifted[0]
        first = f"{kept.id}: {kept.balance} kept, {rebuilt.balance} by its entries"
        said = f"{len(drifted)} accounts drifted, first {first}"
        advice = "stop granting and paying out; somebody changed rows past the Coordinator: restore, or mend by hand"
        return [*found, fail("ledger", said, advice)]
    return [*found, ok("ledger", "every balance is what its entries say")]


def _pools(alive: int, settings: Settings, most: int) -> Finding:
    """What all of them may want at once, as if their settings were ours."""
    each = settings.database_pool_max + BESIDE_POOL
    said = f"{alive} Coordinators may want {alive * each} connections of {most}"
    if alive * each <= most - SUPERUSERS:
        return ok("pools", said)
    advice = "raise max_connections, or lower ARCHIPELAG_DATABASE_POOL_MAX: who comes last under load gets none"
    return warn("pools", said, advice)


async def _one(connection: Asked, query: str) -> dict[str, Any]:
    row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row


async def _all(
    connection: Asked, query: str, values: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    return await (await connection.execute(query, values)).fetchall()
