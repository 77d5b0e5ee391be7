"""How often a transaction waits for an answer of PostgreSQL, by libpq's own record of its messages."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from archipelag_contracts.ids import ApiKeyId
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.rows import changed, later, one
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.ledger import user_account
from archipelag_coordinator.errors import Conflict, NotFound
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.dispatch import place_first
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.testing.builders import (
    a_customer,
    a_job,
    a_reservation,
    a_stored_cargo,
    a_stored_island,
)
from archipelag_coordinator.testing.worlds import a_scene
from archipelag_embedded.fixtures import PATIENCE_S

SAID = "INSERT INTO said (word) VALUES (%(word)s)"
HOW_MANY = "SELECT count(*) AS count FROM said"
WAITING = """
    SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO said%'
        AND datname = current_database()
"""
NOTHING: Mapping[str, Any] = {}


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    """With a table of words, each of which can be said once."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE said (word text PRIMARY KEY)")
    async with PostgresStore(postgres_dsn, pool_max=1) as opened:
        yield opened


@asynccontextmanager
async def listened_to(store: PostgresStore) -> AsyncIterator[list[str]]:
    """Who spoke, message by message, once it is left: `F` we did, `B` the server."""
    spoken: list[str] = []
    with tempfile.TemporaryFile("w+") as record:
        async with store._connection() as connection:
            connection.pgconn.trace(record.fileno())
        yield spoken
        async with store._connection() as connection:
            connection.pgconn.untrace()
        record.seek(0)
        spoken += [line.split("\t")[1] for line in record if "\t" in line]


def round_trips(spoken: list[str]) -> int:
    return sum(turn == ("F", "B") for turn in pairwise(spoken))


async def said(store: PostgresStore) -> int:
    async with store.begin() as tx:
        row = await one(tx.connection, HOW_MANY, NOTHING)
    assert row is not None
    return int(row["count"])


async def test_a_transaction_begins_with_its_first_statement(store: PostgresStore) -> None:
    await said(store)
    async with listened_to(store) as spoken:
        await said(store)
    assert round_trips(spoken) == 2, "the question with its beginning, and the end"


async def test_a_transaction_that_asks_nothing_says_nothing(store: PostgresStore) -> None:
    async with listened_to(store) as spoken, store.begin():
        pass
    assert spoken == []


async def test_what_nobody_waits_for_goes_with_the_next_statement(store: PostgresStore) -> None:
    async with listened_to(store) as spoken, store.begin() as tx:
        later(tx.connection, SAID, {"word": "early"})
        assert await changed(tx.connection, SAID, {"word": "late"}) == 1
    assert round_trips(spoken) == 2
    assert await said(store) == 2


async def test_what_is_still_waiting_at_the_end_is_part_of_it(store: PostgresStore) -> None:
    async with store.begin() as tx:
        later(tx.connection, SAID, {"word": "at last"})

    assert await said(store) == 1


async def test_an_error_of_what_went_ahead_undoes_everything(store: PostgresStore) -> None:
    async def twice() -> None:
        async with store.begin() as tx:
            await changed(tx.connection, SAID, {"word": "one"})
            later(tx.connection, SAID, {"word": "one"})
            await changed(tx.connection, SAID, {"word": "two"})

    with pytest.raises(Conflict, match="said_pkey"):
        await twice()
    assert await said(store) == 0


async def test_what_was_given_up_is_not_said_in_the_next_transaction(store: PostgresStore) -> None:
    async def give_up() -> None:
        async with store.begin() as tx:
            later(tx.connection, SAID, {"word": "given up"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    assert await said(store) == 0


@asynccontextmanager
async def held_up(store: PostgresStore, dsn: str) -> AsyncIterator[tuple[asyncio.Task[int], int]]:
    """A transaction that began with a word of its own and waits for another's, and its process at the server."""

    async def wait() -> int:
        async with store.begin() as tx:
            later(tx.connection, SAID, {"word": "own"})
            return await changed(tx.connection, SAID, {"word": "another's"})

    with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as looking:
        other.execute(SAID, {"word": "another's"})
        waiting = asyncio.create_task(wait())
        while (found := looking.execute(WAITING).fetchone()) is None:  # noqa: ASYNC110 - the server has no event of it
            await asyncio.sleep(0.01)
        yield waiting, found[0]
        other.rollback()


async def test_who_is_cancelled_while_several_statements_travel_leaves_nothing_behind(
    store: PostgresStore, postgres_dsn: str
) -> None:
    async with asyncio.timeout(PATIENCE_S), held_up(store, postgres_dsn) as (waiting, _):
        waiting.cancel()
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)

    assert isinstance(ended, asyncio.CancelledError)
    assert await said(store) == 0
    async with store.begin() as tx:
        assert await changed(tx.connection, SAID, {"word": "own"}) == 1
    assert await said(store) == 1


async def test_a_connection_lost_while_several_statements_travel_is_nobody_elses_error(
    store: PostgresStore, postgres_dsn: str
) -> None:
    async with asyncio.timeout(PATIENCE_S), held_up(store, postgres_dsn) as (waiting, process):
        with psycopg.connect(postgres_dsn, autocommit=True) as operator:
            operator.execute("SELECT pg_terminate_backend(%s)", [process])
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
        await store.checked()

    assert isinstance(ended, psycopg.OperationalError)
    assert await said(store) == 0
    async with store.begin() as tx:
        assert await changed(tx.connection, SAID, {"word": "own"}) == 1
    assert await said(store) == 1


async def test_taking_a_job_and_giving_it_away_are_one_round_trip(store: PostgresStore) -> None:
    scene = await a_scene()
    user, key, _ = await a_customer(store)
    cargo = await a_stored_cargo(store)
    world = replace(scene.world, store=store, door=store, ids=SystemIds())
    world.catalogue.load([cargo])
    world.fleet.load([await a_stored_island(store, user, cargo=cargo)])
    wanted = scene.submission(user=user, key=key)

    async with listened_to(store) as spoken:
        done = await submit(world, wanted, partial(place_first, world))

    async with store.begin() as tx:
        assert len(await tx.attempts.of_job(done.job.id)) == 1
    # The job, its attempt, what is held of the account and of the key's budget, and the commit.
    assert round_trips(spoken) == 1


async def test_a_guard_that_refuses_at_the_end_undoes_everything(store: PostgresStore) -> None:
    _, key, _ = await a_customer(store)

    async def beyond_the_budget() -> None:
        async with store.begin() as tx:
            later(tx.connection, SAID, {"word": "undone"})
            await tx.keys.reserve(key.id, Ucredits(10))
            await tx.keys.reserve(ApiKeyId("key_unknown"), Ucredits(10))

    with pytest.raises(NotFound, match="key_unknown"):
        await beyond_the_budget()
    assert await said(store) == 0
    async with store.begin() as tx:
        kept = await tx.keys.get(key.user_id, key.id)
    assert kept is not None and kept.used == 0


async def test_a_refusal_of_something_else_is_not_taken_for_a_lack_of_credits(
    store: PostgresStore,
) -> None:
    user, _, _ = await a_customer(store, 100)

    async def twice() -> None:
        async with store.begin() as tx:
            await tx.ledger.reserve(a_reservation(a_job(user), 10))
            later(tx.connection, SAID, {"word": "one"})
            later(tx.connection, SAID, {"word": "one"})

    with pytest.raises(Conflict, match="said_pkey"):
        await twice()


async def test_who_swallows_an_error_in_mid_transaction_commits_nothing(
    store: PostgresStore,
) -> None:
    async def swallow() -> None:
        async with store.begin() as tx:
            await changed(tx.connection, SAID, {"word": "one"})
            with contextlib.suppress(psycopg.errors.UniqueViolation):
                await changed(tx.connection, SAID, {"word": "one"})
            later(tx.connection, SAID, {"word": "two"})

    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow()
    assert await said(store) == 0


async def test_a_hot_account_is_locked_for_no_round_trip_of_ours(
    store: PostgresStore, postgres_dsn: str
) -> None:
    user, key, _ = await a_customer(store, 1_000)
    async with store.begin() as tx:
        await tx.ledger.reserve(a_reservation(a_job(user), 10))
        await tx.keys.reserve(key.id, Ucredits(10))

        with psycopg.connect(postgres_dsn) as another:
            another.execute("SET lock_timeout = '1s'")
            another.execute(
                "SELECT FROM accounts WHERE id = %s FOR UPDATE", [user_account(user.id)]
            )
            another.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", [key.id])
