"""What PostgreSQL tells of itself and of the books, to whoever watches."""

from __future__ import annotations

import psycopg
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.testing.builders import CREDIT, a_customer


async def test_books_are_added_up_by_kind(store: PostgresStore) -> None:
    await a_customer(store)
    await a_customer(store)

    told, server = await store.books(), await store.server()

    assert told.balances["user"] == 2 * CREDIT
    assert told.sum == 0
    assert not [name for name in told.balances if "#" in name or ":" in name]
    assert (told.held, told.reserved, told.reservations) == (0, 0, 0)
    assert 0 < server.counts["connections"] < server.counts["connections_max"]
    assert server.counts["size_bytes"] > 1_000_000


async def test_a_write_past_the_guards_shows(
    store: PostgresStore, database: psycopg.Connection
) -> None:
    user, _, _ = await a_customer(store)
    database.execute(
        "UPDATE accounts SET balance = balance + 3, held = held + 2 WHERE id = %s",
        [f"user:{user.id}"],
    )

    told = await store.books()

    assert told.sum == 3
    assert told.held - told.reserved == 2


async def test_the_pool_tells_who_waits(store: PostgresStore) -> None:
    await a_customer(store)
    async with store.begin() as tx:
        await tx.jobs.count_completed()
        busy = store.pool_counts()

    assert busy["busy"] >= 1
    assert busy["waiting"] == 0
    assert busy["most"] >= busy["busy"] + busy["idle"]
