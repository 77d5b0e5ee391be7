"""What is added up is found by an index, also among a hundred thousand rows of others."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres import sums
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.ledger import owner_account, user_account
from archipelag_coordinator.domain.sums import EarnedBy, SpentBy
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START

ROWS = 100_000
FILL = """
    SET session_replication_role = replica; -- The triggers are not what is measured here.
    INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
            'id', 'job_' || n, 'idempotency_key', NULL, 'status', 'succeeded', 'epoch', 1,
            'user_id', CASE WHEN n % 20 = 0 THEN j.user_id ELSE 'usr_' || n % 500 END,
            'ended_at', timestamptz '2025-01-01' + n * interval '5 minutes',
            'charged', 3, 'prompt_tokens', 5, 'output_items', 2))).*
        FROM jobs j, generate_series(1, {rows}) AS n WHERE j.id = '{job}';
    INSERT INTO usage SELECT 'job_' || n, 1, CASE WHEN n % 20 = 0 THEN '{island}' ELSE 'isl_' || n % 500 END,
            'usr_1', 'completed', 0, 2, 5, 0, 1000, timestamptz '2025-01-01' + n * interval '5 minutes'
        FROM generate_series(1, {rows}) AS n;
    INSERT INTO pays SELECT 'job_' || n, 1, 'charge', 'usr_1', 3, timestamptz '2025-01-01' + n * interval '5 minutes'
        FROM generate_series(1, {rows}) AS n;
    INSERT INTO accounts SELECT 'user:usr_' || n FROM generate_series(0, 499) AS n;
    INSERT INTO transfers
        SELECT 'charge:job_' || n, timestamptz '2025-01-01' + n * interval '5 minutes', 'job_' || n, ''
        FROM generate_series(1, {rows}) AS n;
    INSERT INTO entries SELECT 'charge:job_' || n,
            CASE WHEN n % 20 = 0 THEN '{account}' ELSE 'user:usr_' || n % 500 END, -3,
            timestamptz '2025-01-01' + n * interval '5 minutes'
        FROM generate_series(1, {rows}) AS n;
    SET session_replication_role = origin;
    ANALYZE;
"""


@pytest.fixture
async def filled(store: PostgresStore, database: psycopg.Connection) -> Scene:
    scene = await Scene.of(store)
    job = await scene.job()
    fill = FILL.format(
        rows=ROWS, job=job.id, island=scene.island.id, account=user_account(scene.user.id)
    )
    database.execute(fill)
    return scene


def scans_of(
    database: psycopg.Connection, statement: str, values: dict[str, Any]
) -> dict[str, set[str]]:
    """By which nodes each table is read."""
    explain = ("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) " + statement).encode()
    (row,) = database.execute(explain, values).fetchall()
    found: dict[str, set[str]] = {}
    nodes = [row[0][0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Relation Name" in node:
            found.setdefault(node["Relation Name"], set()).add(node["Node Type"])
    return found


async def test_sums_over_days_read_only_what_is_theirs(
    filled: Scene, database: psycopg.Connection
) -> None:
    month = {"since": START.replace(year=2025, month=6), "until": START.replace(year=2025, month=7)}

    for by in SpentBy:
        scans = scans_of(database, sums.SPENT[by], month | {"user": filled.user.id})
        assert "jobs" in scans and "Seq Scan" not in scans["jobs"], (by, scans)
    for by in EarnedBy:
        scans = scans_of(database, sums.EARNED[by], month | {"island": filled.island.id})
        assert not any("Seq Scan" in scans[name] for name in ("usage", "pays")), (by, scans)


async def test_a_deep_page_of_moves_is_found_by_the_index(
    filled: Scene, database: psycopg.Connection
) -> None:
    mine = [user_account(filled.user.id), owner_account(filled.user.id)]
    values = {
        "user": filled.user.id,
        "accounts": mine,
        "at": START.replace(year=2025, month=6),
        "transfer": "charge:job_1",
        "account": mine[0],
        "limit": 101,
    }

    scans = scans_of(database, sums.MOVED, values)

    assert not any("Seq Scan" in scans[name] for name in ("entries", "transfers", "jobs")), scans
