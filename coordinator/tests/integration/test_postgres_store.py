"""The PostgreSQL store keeps every promise of the port."""

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.island import Offer
from archipelag_coordinator.testing.builders import a_customer, a_stored_island
from archipelag_coordinator.testing.check_store import CheckStore
from archipelag_embedded.fixtures import PATIENCE_S


class TestPostgresStore(CheckStore):
    """The fixture `store` is the real thing."""


async def test_hostile_heartbeat_does_not_spoil_the_batch(store):
    owner, _, _ = await a_customer(store)
    honest = await a_stored_island(store, owner)
    hostile = await a_stored_island(store, owner)
    beats = [
        replace(honest, load=0.9),
        replace(
            hostile,
            boot_id="\0\ud800",
            sequence=2**64,
            slots=2**40,
            load=float("nan"),
            broker_rtt_ms=float("inf"),
            capabilities={"\0": ["\ud800", float("nan"), {"deep": "\0"}]},
            offers=(Offer("\0", "d", "warm", items_per_s=float("inf")),),
        ),
    ]

    async with store.begin() as tx:
        await tx.islands.save_beats(beats)

    async with store.begin() as tx:
        saved = await tx.islands.get(honest.id)
        odd = await tx.islands.get(hostile.id)
    assert saved is not None and saved.load == 0.9
    assert odd is not None and (odd.sequence, odd.slots, odd.load) == (2**63 - 1, 2**31 - 1, 0.0)


async def test_one_error_after_a_restart_of_the_database_clears_every_dead_connection(
    postgres_dsn: str,
    database: psycopg.Connection[Any],
) -> None:
    async def ask(store: PostgresStore, together: asyncio.Barrier | None = None) -> None:
        async with store.begin() as tx:
            if together is not None:
                await together.wait()
            await tx.jobs.count_completed()

    async with PostgresStore(postgres_dsn, pool_max=8) as store:
        together = asyncio.Barrier(8)
        await asyncio.gather(*(ask(store, together) for _ in range(8)))
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(psycopg.OperationalError):
            await ask(store)
        async with asyncio.timeout(PATIENCE_S):
            await store.checked()
        for _ in range(16):
            await ask(store)
