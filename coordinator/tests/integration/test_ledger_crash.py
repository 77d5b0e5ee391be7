"""What `begin` has returned from stands after `kill -9` of the whole database server, again and again under load.

This loses what PostgreSQL had in its own memory only. What a power cut takes from the kernel is fsync's matter, which
PostgreSQL sees to in the very flush that is awaited here.
"""

import asyncio
import contextlib
import itertools

import psutil
import psycopg
import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.flusher import Flusher, NotDurable
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import UNREACHABLE, PostgresStore
from archipelag_coordinator.domain.ledger import grant
from archipelag_coordinator.testing.builders import a_user
from archipelag_coordinator.testing.fakes import START
from archipelag_embedded.postgres import Postgres, servers_in

WORKERS = 8
CRASHES = 3
BETWEEN = 60
"""Acknowledged transfers between two crashes."""
FLUSHERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_logical_emit_message%' AND pid <> pg_backend_pid()"


class Forgetful(Flusher):
    """The bug that these tests must see: it says that all is on disk, and did not look."""

    async def flush(self, witness):
        return


class Counting(Flusher):
    flushes = 0

    async def flush(self, witness):
        self.flushes += 1
        await super().flush(witness)


@pytest.fixture(scope="module")
def durable_server(embedded_directory):
    """A server that waits for the disk, and whose own background writer comes too late to hide anything."""
    server = Postgres(embedded_directory / "durable")
    migrate(server.start())
    with psycopg.connect(server.dsn(), autocommit=True) as database:
        database.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        database.execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
        database.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()


def kill_all(server: Postgres) -> None:
    """The server's processes die at once: the first of them first, so that it notices nobody's death."""
    first = server.process
    assert first is not None
    processes = servers_in(server._data)
    for process in sorted(processes, key=lambda process: process.pid != first.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.stop()


async def restart(server: Postgres) -> None:
    await asyncio.to_thread(server.prepare)
    server.spawn()
    await asyncio.to_thread(server.wait_ready)


class Writers:
    """They grant and grant, try again what failed, and note what was acknowledged."""

    def __init__(self, store):
        self.store = store
        self.user = a_user()
        self.numbers = itertools.count()
        self.acknowledged = []
        self.failures = []
        self.progress = asyncio.Condition()
        self.over = False

    async def write(self):
        while not self.over:
            transfer = grant(self.user.id, Ucredits(5), f"crash:{next(self.numbers)}", START)
            try:
                async with self.store.begin() as tx:
                    await tx.ledger.transfer(transfer)
            except UNREACHABLE as error:
                self.failures.append(error)
                continue
            self.acknowledged.append(transfer.id)
            async with self.progress:
                self.progress.notify_all()

    async def wait(self, more):
        target = len(self.acknowledged) + more
        async with self.progress:
            await self.progress.wait_for(lambda: len(self.acknowledged) >= target)


async def crash(server, writers, times):
    """Crashes the server under the writers' feet, and says which of the acknowledged transfers are gone."""
    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(writers.write())
        for _ in range(times):
            await writers.wait(BETWEEN)
            kill_all(server)
            await restart(server)
        await writers.wait(BETWEEN)
        writers.over = True
    with psycopg.connect(server.dsn()) as database:
        standing = {row[0] for row in database.execute("SELECT id FROM transfers")}
    return [name for name in writers.acknowledged if name not in standing]


async def test_what_was_acknowledged_survives_every_crash(durable_server):
    async with PostgresStore(durable_server.dsn(), pool_max=WORKERS) as store:
        writers = Writers(store)

        assert await crash(durable_server, writers, CRASHES) == []

        assert writers.failures  # The crashes did hit somebody.
        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []


async def test_without_the_wait_acknowledged_transfers_are_lost(durable_server):
    """The test above can fail."""
    flusher = Forgetful(durable_server.dsn())
    async with PostgresStore(durable_server.dsn(), pool_max=WORKERS, flusher=flusher) as store:
        await flusher.wait_ready()

        assert await crash(durable_server, Writers(store), 1) != []


async def test_loss_of_the_flushers_connection_is_an_error_to_be_tried_again(
    postgres_dsn, database
):
    flusher = Flusher(postgres_dsn)
    async with PostgresStore(postgres_dsn, flusher=flusher) as store:
        await flusher.wait_ready()
        writers = Writers(store)
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(writers.write())
            while not any(isinstance(error, NotDurable) for error in writers.failures):
                await writers.wait(1)
                for (pid,) in database.execute(FLUSHERS).fetchall():
                    database.execute("SELECT pg_terminate_backend(%s)", [pid])
            await writers.wait(BETWEEN)
            writers.over = True
        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []


async def test_only_who_wrote_or_relies_waits_for_the_disk(postgres_dsn):
    user = a_user()
    flusher = Counting(postgres_dsn)
    async with PostgresStore(postgres_dsn, flusher=flusher) as store:
        await flusher.wait_ready()
        async with store.begin():
            pass
        async with store.begin() as tx:
            assert await tx.users.get(user.id) is None
        assert flusher.flushes == 0
        async with store.begin() as tx:
            await tx.users.add(user)
        assert flusher.flushes == 1
        async with store.begin() as tx:
            assert await tx.users.get(user.id) == user
            tx.rely()
        assert flusher.flushes == 2


async def test_who_goes_ahead_of_the_disk_waits_for_it_when_it_asks(postgres_dsn, database):
    users = [a_user(), a_user()]
    flusher = Counting(postgres_dsn)
    async with PostgresStore(postgres_dsn, flusher=flusher) as store:
        await flusher.wait_ready()
        async with store.begin() as tx:
            on_disk = tx.ahead_of_disk()
            await tx.users.add(users[0])
        early = flusher.flushes
        await on_disk()
        assert (early, flusher.flushes) == (0, 1)
        async with store.begin() as tx:
            nothing = tx.ahead_of_disk()
            assert await tx.users.get(users[0].id) == users[0]
        await nothing()
        assert flusher.flushes == 1
        async with store.begin() as tx:
            on_disk = tx.ahead_of_disk()
            await tx.users.add(users[1])
        for (pid,) in database.execute(FLUSHERS).fetchall():
            database.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(NotDurable):
            await on_disk()


async def test_without_a_flusher_the_commit_waits_itself(postgres_dsn, database):
    """Before the flusher is connected, and after it is lost."""
    waits = "SELECT current_setting('synchronous_commit')"
    database.execute("ALTER ROLE CURRENT_USER SET synchronous_commit TO local")
    database.execute("CREATE TABLE seen (setting text)")
    database.execute(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO seen {waits}; RETURN NULL; END $$"
    )
    database.execute(
        "CREATE CONSTRAINT TRIGGER see AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION see()"
    )
    try:
        for flusher in (Unconnected(postgres_dsn), Flusher(postgres_dsn)):
            async with PostgresStore(postgres_dsn, flusher=flusher) as store:
                await flusher.wait_ready()
                async with store.begin() as tx:
                    await tx.users.add(a_user())
    finally:
        database.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")

    assert database.execute("SELECT setting FROM seen").fetchall() == [("local",), ("off",)]


class Unconnected(Flusher):
    """Never reaches the server."""

    async def run(self):
        await asyncio.Event().wait()

    async def wait_ready(self):
        return
