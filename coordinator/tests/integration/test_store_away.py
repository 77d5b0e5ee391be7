"""A database that does not answer, or whose answer is lost: an error soon, and nothing done twice."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres import store as adapter
from archipelag_coordinator.adapters.postgres.flusher import Flusher, Witness
from archipelag_coordinator.adapters.postgres.patience import patience
from archipelag_coordinator.adapters.postgres.store import (
    PostgresStore,
    PostgresTx,
    StoreConnection,
)
from archipelag_coordinator.domain.ledger import user_account
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.testing.builders import a_customer, a_stored_cargo
from archipelag_coordinator.testing.worlds import a_scene
from archipelag_embedded.fixtures import PATIENCE_S
from psycopg.conninfo import make_conninfo


async def test_a_server_that_does_not_answer_is_hung_up_on(postgres_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.OperationalError), patience(connection, 0.05):
            await connection.execute("SELECT pg_sleep(20)")


async def test_what_answers_in_time_is_not_hung_up_on(postgres_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as connection:
        with patience(connection, 0.05):
            await connection.execute("SELECT 1")
        await asyncio.sleep(0.1)
        await connection.execute("SELECT 1")


@pytest.mark.parametrize("open_s", [0.0, 0.001, 0.002, 0.004, 0.008, 0.016])
async def test_a_store_that_is_closed_at_once_leaves_no_connection_behind(
    postgres_dsn: str, open_s: float
) -> None:
    dsn = make_conninfo(postgres_dsn, application_name=f"closed after {open_s}")
    # What is left to the collector of garbage is left at the server until that comes by.
    gc.disable()
    try:
        for _ in range(5):
            async with PostgresStore(dsn, pool_max=1):
                await asyncio.sleep(open_s)

        assert await _all_are_closed(postgres_dsn)
    finally:
        gc.enable()


async def _all_are_closed(dsn: str) -> bool:
    """Connections that are being opened have no application's name yet."""
    count = """
        SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND (application_name LIKE 'closed after%' OR state = 'starting')
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for _ in range(50):
            row = await (await connection.execute(count)).fetchone()
            if row == (0,):
                return True
            await asyncio.sleep(0.1)
    return False


async def test_when_the_database_is_found_out_of_reach_nobody_waits_on_for_it(
    store: PostgresStore,
) -> None:
    begun = asyncio.Event()

    async def slow() -> None:
        async with store._connection() as connection:
            begun.set()
            await connection.execute("SELECT pg_sleep(20)")

    waiting = asyncio.create_task(slow())
    await begun.wait()
    await asyncio.sleep(0.05)  # The statement is on its way.
    store._flusher._is_away(psycopg.OperationalError("no answer"))

    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(waiting, PATIENCE_S)


@pytest.mark.parametrize(("away", "limit"), [(False, "POOL_WAIT_S"), (True, "AWAY_WAIT_S")])
async def test_a_pool_that_is_used_up_is_an_error_soon(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, away: bool, limit: str
) -> None:
    for name in ("POOL_WAIT_S", "AWAY_WAIT_S"):
        monkeypatch.setattr(adapter, name, 0.05 if name == limit else 60.0)
    async with PostgresStore(postgres_dsn, pool_max=1) as store:
        store._flusher.away = away
        async with store.begin() as tx:
            await tx.cargos.listed()
            with pytest.raises(adapter.UNREACHABLE):
                async with store.begin():
                    pytest.fail("there is no connection left")


class Forgetful(PostgresStore):
    """Commits, and then loses the server's answer."""

    lose = False

    async def _commit(self, connection: StoreConnection, tx: PostgresTx) -> Witness | None:
        witness = await super()._commit(connection, tx)
        if self.lose:
            self.lose = False
            raise psycopg.OperationalError("the answer was lost on the way")
        return witness


async def test_a_request_whose_commit_was_not_answered_is_made_once(postgres_dsn: str) -> None:
    async with Forgetful(postgres_dsn, flusher=Flusher(postgres_dsn)) as store:
        scene = await a_scene()
        user, key, _ = await a_customer(store)
        cargo = await a_stored_cargo(store)
        world = replace(scene.world, store=store, door=store, ids=SystemIds())
        world.catalogue.load([cargo])
        wanted = scene.submission(user=user, key=key, idempotency_key="once")

        store.lose = True
        with pytest.raises(adapter.UNREACHABLE):
            await submit(world, wanted)
        again = await submit(world, wanted)

        async with store.begin() as tx:
            _, count = await tx.jobs.of_user(user.id, limit=10, offset=0)
            account = await tx.ledger.account(user_account(user.id))
    assert count == 1
    assert account.balance - account.available == again.job.reserved > 0
