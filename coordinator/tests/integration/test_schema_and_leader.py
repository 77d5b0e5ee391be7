"""Migrations that may start together, one leader at a time, and chores that run."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import psycopg
from archipelag_coordinator.adapters.postgres.chores import chores_connector
from archipelag_coordinator.adapters.postgres.leader import Leader
from archipelag_coordinator.adapters.postgres.migrate import HERE, migrate
from archipelag_coordinator.apps.background.chores import chores_app
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import (
    HOME,
    a_customer,
    a_job,
    a_reservation,
    a_sign_in,
)
from archipelag_coordinator.testing.fakes import (
    FakeBroker,
    FakeChunkRelay,
    FakeClock,
    FakeIslandBus,
    SequenceIds,
)
from archipelag_embedded.fixtures import PATIENCE_S


def test_migrations_that_start_together_apply_once(postgres_server):
    dsn = postgres_server.create_database("together")

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(migrate, [dsn] * 3))

    with psycopg.connect(dsn) as database:
        versions = database.execute("SELECT version_num FROM alembic_version").fetchall()
        chores = database.execute("SELECT count(*) FROM procrastinate_jobs").fetchone()
    postgres_server.drop_database("together")
    newest = max(path.stem for path in (HERE / "versions").glob("p*.sql"))
    assert versions == [(newest,)]
    assert chores == (0,)


@contextlib.asynccontextmanager
async def standing(*leaders):
    tasks = [asyncio.create_task(leader.run()) for leader in leaders]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_leads_and_another_follows_when_it_goes(postgres_dsn):
    one, two = Leader(postgres_dsn, check_s=0.02), Leader(postgres_dsn, check_s=0.02)

    async with standing(one) as (first,):
        await one.wait_leader()
        async with standing(two):
            assert (one.is_leader, two.is_leader) == (True, False)
            first.cancel()
            await asyncio.wait_for(two.wait_leader(), PATIENCE_S)
            assert (one.is_leader, two.is_leader) == (False, True)


async def test_lost_connection_is_lost_leadership_until_elected_again(postgres_dsn, database):
    leader = Leader(postgres_dsn, check_s=0.02)

    async with standing(leader):
        await leader.wait_leader()
        holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        (pid,) = database.execute(holder).fetchone()
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        await asyncio.wait_for(leader.wait_follower(), PATIENCE_S)
        await asyncio.wait_for(leader.wait_leader(), PATIENCE_S)


async def test_another_leads_when_the_leader_stands_still_with_its_connection_open(postgres_dsn):
    still = Leader(postgres_dsn, check_s=3600, still_s=0.2)
    other = Leader(postgres_dsn, check_s=0.02)

    async with standing(still):
        await still.wait_leader()
        async with standing(other):
            await asyncio.wait_for(other.wait_leader(), PATIENCE_S)


async def test_chores_expire_prune_and_audit(store, postgres_dsn, database, caplog):
    caplog.set_level("INFO")
    clock = FakeClock()
    user, key, _ = await a_customer(store, 100)
    held = a_reservation(a_job(user), 60)
    async with store.begin() as tx:
        await tx.ledger.reserve(held)
        await tx.sign_ins.add(a_sign_in())
        await tx.audit.note(clock.now(), user.id, "user.role", user.id)
    await store.admit(key.hash, clock.now(), 10)
    database.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 'platform:grants'")
    clock.advance(25 * 3600)
    world = World(
        store=store,
        door=store,
        clock=clock,
        ids=SequenceIds(),
        bus=FakeIslandBus(),
        relay=FakeChunkRelay(),
        broker=FakeBroker(),
        home=HOME,
    )
    app = chores_app(chores_connector(postgres_dsn), world, store.prune_rates)

    async with app.open_async():
        names = ("expire_reservations", "prune_rate_windows", "ledger_audit", "prune_sign_in_links")
        for name in (*names, "audit_check"):
            await app.configure_task(name, queue="chores").defer_async(timestamp=0)
        await app.run_worker_async(
            queues=["chores"], wait=False, install_signal_handlers=False, listen_notify=False
        )

    async with store.begin() as tx:
        kept = await tx.ledger.reservation(held.job_id)
    assert kept is not None and kept.status.value == "expired"
    assert database.execute("SELECT count(*) FROM rates").fetchone() == (0,)
    assert database.execute("SELECT count(*) FROM sign_ins").fetchone() == (0,)
    assert "audit_whole turn=0 entries=1 hash=" in caplog.text
    assert "ledger_drifted" in caplog.text and "platform:grants" in caplog.text
    statuses = database.execute(
        "SELECT task_name, status FROM procrastinate_jobs WHERE status <> 'succeeded'"
    ).fetchall()
    assert [row for row in statuses if row[1] == "failed"] == []
