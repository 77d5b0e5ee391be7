"""What only the real database knows: who leads, and which background work failed."""

from __future__ import annotations

import asyncio

import psycopg
from archipelag_coordinator.adapters.postgres.leader import Leader
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.testing.fakes import START
from archipelag_embedded.fixtures import PATIENCE_S


async def leads(store: PostgresStore) -> bool:
    async with store.begin() as tx:
        return await tx.coordinators.has_leader()


async def test_whether_anybody_leads_is_seen_by_everybody(
    store: PostgresStore, postgres_dsn: str, database: psycopg.Connection
) -> None:
    database.execute("SELECT pg_advisory_lock(7)")
    before = await leads(store)
    leader = Leader(postgres_dsn, check_s=0.02)
    standing = asyncio.create_task(leader.run())
    await asyncio.wait_for(leader.wait_leader(), PATIENCE_S)

    during = await leads(store)
    standing.cancel()
    await asyncio.gather(standing, return_exceptions=True)

    assert (before, during) == (False, True)


async def test_background_work_is_counted_by_name_and_state(
    store: PostgresStore, database: psycopg.Connection
) -> None:
    rows = [
        ("prune", "failed", 3, START),
        ("prune", "failed", 1, None),
        ("prune", "todo", 0, None),
        ("audit", "succeeded", 1, None),
    ]
    for row in rows:
        database.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts, scheduled_at) "
            "VALUES ('chores', %s, %s, %s, %s)",
            row,
        )

    async with store.begin() as tx:
        found = await tx.sums.chores()

    assert found == [
        Chore("prune", "failed", 2, START, 3),
        Chore("prune", "todo", 1, None, 0),
    ]
