"""A backup of the real database: whole or none, and safe to go on with beside Islands that know more than it."""

import asyncio
import subprocess
from dataclasses import replace

import psycopg
import psycopg.sql
import pytest
from archipelag_coordinator import backup as backups
from archipelag_coordinator import commands
from archipelag_coordinator.adapters.postgres import dump
from archipelag_coordinator.adapters.postgres.restored import CATALOGUES_APART, NotEmpty
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.adapters.sealed_stream import NotOpened
from archipelag_coordinator.config import Settings
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.audit import BACKED_UP, Head
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.job import EPOCHS_APART, JobStatus
from archipelag_coordinator.domain.ledger import owner_account
from archipelag_coordinator.errors import StaleAttempt
from archipelag_coordinator.services.audit import check_log
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import expire_lease, failover
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.books import broken_promises
from archipelag_coordinator.testing.fakes import START, FakeClock
from archipelag_coordinator.testing.worlds import a_scene

PASSPHRASE = b"correct horse battery"


@pytest.fixture
def empty(postgres_server):
    """An empty database to restore into."""
    dsn = postgres_server.create_database("restored")
    yield dsn
    postgres_server.drop_database("restored")


def tables(dsn):
    with psycopg.connect(dsn) as database:
        found = database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        return found.fetchone()[0]


async def a_network(store):
    """With one job done and paid, one at work, one that waits; an entry in the log, a session, a catalogue."""
    scene = await a_scene(store=store)
    await scene.island()
    done = await scene.running()
    await track(scene.world, scene.report(done, "Hel", "lo"))
    running = await scene.running(request_hash=b"second", interactive=False)
    waiting = await scene.submit(request_hash=b"third", interactive=False)
    async with store.begin() as tx:
        await tx.audit.note(START, scene.user.id, "user.role", scene.user.id)
        await tx.keys.add(builders.a_session(scene.user))
        await tx.sign_ins.add(builders.a_sign_in())
        await tx.cargos.issue(Document(1, b"signed", bytes(32), START, START.replace(year=2100)))
    return scene, done, running, waiting


async def test_what_comes_back_is_what_was_there(store, postgres_dsn, empty, tmp_path):
    await a_network(store)
    file = tmp_path / "network.backup"

    written = await backups.backup(postgres_dsn, file)
    told = await backups.restore(empty, file, FakeClock())

    for same in ("sha256", "schema", "users", "jobs", "transfers", "audit_entries", "audit_hash"):
        assert written[same] == told[same], same
    assert (written["audit_entries"], written["drifted"]) == (1, ())
    assert (told["attempts_taken_back"], told["jobs_unfinished"]) == (1, 2)
    assert told["sessions_ended"] == 1
    assert backups.whole(told)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["network.backup"]


async def test_jobs_go_on_after_it_and_the_books_close(store, postgres_dsn, empty, tmp_path):
    scene, done, running, waiting = await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    told = await backups.restore(empty, tmp_path / "file", FakeClock())
    assert told["attempts_taken_back"] == 1

    async with PostgresStore(empty) as restored:
        world = replace(scene.another(), store=restored)
        again = replace(scene, world=world, relay=world.relay, store=restored)
        async with restored.begin() as tx:
            for job in (running, waiting):
                assert await tx.jobs.take_home(job.id, world.home, was=scene.world.home)
            taken = await tx.jobs.get(running.id)
        await again.island()
        assert taken.epoch == EPOCHS_APART and taken.status is JobStatus.RUNNING
        assert (await expire_lease(world, taken.id, taken.epoch)).status is JobStatus.QUEUED
        for job in (running, waiting):
            given = await dispatch(world, job.id)
            assert given.epoch == EPOCHS_APART + 1
            await track(world, again.report(given, "Hel", "lo"))
        async with restored.begin() as tx:
            ids = [done.id, running.id, waiting.id]
            broken = await broken_promises(tx, ids, world.policy.shares)
            karma = await tx.karma.of_island(taken_by(scene), limit=10, offset=0)
            states = [(await tx.jobs.get(one)).status for one in ids]

    assert broken == []
    assert states == [JobStatus.SUCCEEDED] * 3
    assert karma == [], "an Island is blamed for what the operator did"


def taken_by(scene):
    return scene.bus.assigned[0].island_id


async def test_what_islands_say_of_the_lost_time_is_refused_and_not_paid(
    store, postgres_dsn, empty, tmp_path
):
    scene, _, running, waiting = await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    # The network went on: the attempt was lost and another one done, and the job that waited was done too.
    reported = [scene.report(running, "old")]
    await failover(scene.world, running.id, running.epoch, Cause.LEASE_LOST, "silent")
    await scene.island()
    for job in (running, waiting):
        given = await dispatch(scene.world, job.id)
        reported.append(scene.report(given, "Hel", "lo"))
        await track(scene.world, reported[-1])
    after = await scene.submit(request_hash=b"after the backup", interactive=False)
    await backups.restore(empty, tmp_path / "file", FakeClock())

    async with PostgresStore(empty) as restored:
        world = replace(scene.another(), store=restored)
        async with restored.begin() as tx:
            before = (await tx.ledger.account(owner_account(scene.owner.id))).balance
            for job in (running, waiting):
                assert await tx.jobs.take_home(job.id, world.home, was=scene.world.home)
        for report in reported:
            with pytest.raises(StaleAttempt):
                await track(world, report)
        with pytest.raises(StaleAttempt):
            await track(world, replace(reported[0], job_id=after.id))
        async with restored.begin() as tx:
            assert (await tx.ledger.account(owner_account(scene.owner.id))).balance == before
            # So that the Islands' journals are emptied.
            said = [(one.job_id, one.epoch) for one in reported]
            assert await tx.attempts.finished(reported[0].island_id, said) == set(said)


async def test_islands_hear_of_a_catalogue_again(store, postgres_dsn, empty, tmp_path):
    await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    await backups.restore(empty, tmp_path / "file", FakeClock())

    async with PostgresStore(empty) as restored, restored.begin() as tx:
        newest = await tx.cargos.newest_document()
        assert newest.version == 1 + CATALOGUES_APART
        assert newest.is_due(b"anything", START, 10**9)
        following = replace(newest, version=newest.version + 1, sealed=b"signed")
        await tx.cargos.issue(following)
    async with PostgresStore(empty) as restored:
        with pytest.raises(Exception, match="catalogue_rises"):
            async with restored.begin() as tx:
                await tx.cargos.issue(replace(following, version=following.version + 5))


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_used_up_since_is_not_there_again(
    store, postgres_dsn, empty, tmp_path, keep
):
    await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    await backups.restore(empty, tmp_path / "file", FakeClock(), end_sessions=not keep)

    with psycopg.connect(empty) as database:
        open_sessions = database.execute(
            "SELECT count(*) FROM api_keys WHERE kind = 'session' AND revoked_at IS NULL"
        ).fetchone()
        keys = database.execute(
            "SELECT count(*) FROM api_keys WHERE kind = 'key' AND revoked_at IS NULL"
        ).fetchone()
        links = database.execute("SELECT count(*) FROM sign_ins").fetchone()
    assert (open_sessions, keys, links) == ((int(keep),), (1,), (0,))


async def test_the_log_says_that_it_was_restored_and_stays_whole(
    store, postgres_dsn, empty, tmp_path
):
    await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    told = await backups.restore(empty, tmp_path / "file", FakeClock())

    async with PostgresStore(empty) as restored:
        checked = await check_log(restored)
        async with restored.begin() as tx:
            (entry, first) = await tx.audit.newest(10)
    assert (checked.entries, checked.broken_at) == (2, None)
    assert (entry.act, entry.actor, entry.subject) == ("database.restored", "operator", "file")
    assert told["sha256"] in entry.detail
    assert Head(first.number, first.hash).hash.hex() == told["audit_hash"]


async def test_books_that_drifted_are_told_on_both_sides(
    store, postgres_dsn, empty, database, tmp_path
):
    await a_network(store)
    database.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 'platform:fees'")

    written = await backups.backup(postgres_dsn, tmp_path / "file")
    told = await backups.restore(empty, tmp_path / "file", FakeClock())

    assert written["drifted"] == told["drifted"] == ("platform:fees",)
    assert not backups.whole(told)


async def test_nothing_is_written_over(store, postgres_dsn, tmp_path):
    await a_network(store)
    file = tmp_path / "file"
    await backups.backup(postgres_dsn, file)
    was = file.read_bytes()

    with pytest.raises(backups.BackupRefused, match="is there already"):
        await backups.backup(postgres_dsn, file)
    with pytest.raises(NotEmpty, match="nothing was changed"):
        await backups.restore(postgres_dsn, file, FakeClock())
    assert file.read_bytes() == was


async def test_an_encrypted_one_comes_back_whole_or_not_at_all(
    store, postgres_dsn, empty, tmp_path
):
    scene, *_ = await a_network(store)
    file, spoilt = tmp_path / "file", tmp_path / "spoilt"
    await backups.backup(postgres_dsn, file, PASSPHRASE)
    data = file.read_bytes()
    spoilt.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert scene.user.email.encode() not in data and b"PGDMP" not in data
    with pytest.raises(backups.BackupRefused, match="encrypted"):
        await backups.restore(empty, file, FakeClock())
    for path, word in ((file, b"not the passphrase"), (spoilt, PASSPHRASE)):
        with pytest.raises(NotOpened):
            await backups.restore(empty, path, FakeClock(), word)
        assert tables(empty) == 0
    told = await backups.restore(empty, file, FakeClock(), PASSPHRASE)
    assert backups.whole(told)


async def test_a_file_that_was_cut_off_leaves_nothing(store, postgres_dsn, empty, tmp_path):
    await a_network(store)
    file = tmp_path / "file"
    await backups.backup(postgres_dsn, file)
    file.write_bytes(file.read_bytes()[:-2_000])

    with pytest.raises(dump.DumpFailed, match="pg_restore ended with"):
        await backups.restore(empty, file, FakeClock())

    assert tables(empty) == 0


async def test_until_all_of_it_is_done_nobody_else_can_write(
    store, postgres_dsn, empty, tmp_path, monkeypatch
):
    async def interrupted(*_, **__):
        raise KeyboardInterrupt

    await a_network(store)
    await backups.backup(postgres_dsn, tmp_path / "file")
    with monkeypatch.context() as during:
        during.setattr(backups, "take_back", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await backups.restore(empty, tmp_path / "file", FakeClock())

    assert tables(empty) > 20
    with psycopg.connect(empty) as database, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        database.execute("INSERT INTO coordinators VALUES ('rly_1', now())")


async def test_what_did_not_come_leaves_the_database_as_it_was(
    store, postgres_dsn, empty, tmp_path
):
    await a_network(store)
    (tmp_path / "file").write_bytes(b"no backup at all")

    with pytest.raises(dump.DumpFailed):
        await backups.restore(empty, tmp_path / "file", FakeClock())

    with psycopg.connect(empty) as database:
        database.execute("CREATE TABLE anything (x int)")


async def test_a_backup_of_a_newer_version_names_it(store, postgres_dsn, empty, database, tmp_path):
    await a_network(store)
    database.execute("UPDATE alembic_version SET version_num = 'pre_9999_newer'")
    await backups.backup(postgres_dsn, tmp_path / "file")

    with pytest.raises(backups.BackupRefused, match="pre_9999_newer: drop this database"):
        await backups.restore(empty, tmp_path / "file", FakeClock())


async def test_a_backup_that_fails_leaves_no_file(store, postgres_dsn, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backups, "dump", full)

    with pytest.raises(OSError, match="No space"):
        await backups.backup(postgres_dsn, tmp_path / "file")

    assert list(tmp_path.iterdir()) == []


async def test_the_password_is_on_no_command_line(store, postgres_dsn, tmp_path, monkeypatch):
    seen = []
    real = subprocess.Popen

    def noted(command, **options):
        seen.append(" ".join(command))
        return real(command, **options)

    monkeypatch.setattr(dump.subprocess, "Popen", noted)
    await backups.backup(postgres_dsn, tmp_path / "file")

    password = postgres_dsn.split("@")[0].rpartition(":")[2]
    assert len(password) > 8 and "pg_dump" in seen[0]
    assert not [line for line in seen if password in line]


def test_programs_that_are_too_old_are_named(monkeypatch):
    with pytest.raises(dump.DumpFailed, match="pg_dump of PostgreSQL 99 or newer is needed"):
        dump.program("pg_dump", 99)
    monkeypatch.setattr(dump, "_places", lambda name: iter(()))
    with pytest.raises(dump.DumpFailed, match="postgresql-client-18"):
        dump.program("pg_dump", 18)


def test_a_short_passphrase_is_refused(tmp_path):
    (tmp_path / "word").write_text("short\n")

    with pytest.raises(backups.BackupRefused, match="12 characters"):
        backups.passphrase_of(tmp_path / "word")


async def test_a_backup_is_of_one_moment_while_others_write(store, postgres_dsn, empty, tmp_path):
    scene, *_ = await a_network(store)
    stop = asyncio.Event()

    async def pays():
        number = 0
        while not stop.is_set():
            number += 1
            async with store.begin() as tx:
                await tx.ledger.transfer(builders.a_grant(scene.user, 7, f"load {number}"))
        return number

    load = [asyncio.create_task(pays()) for _ in range(2)]
    try:
        written = await backups.backup(postgres_dsn, tmp_path / "file")
    finally:
        stop.set()
        paid = await asyncio.gather(*load)
    assert sum(paid) > 2

    told = await backups.restore(empty, tmp_path / "file", FakeClock())
    assert (told["transfers"], told["drifted"]) == (written["transfers"], ())
    assert backups.whole(told)


async def test_a_backup_is_noted_so_that_its_age_is_known(postgres_dsn, tmp_path):
    written = await backups.backup(postgres_dsn, tmp_path / "file")

    settings = Settings(postgres_dsn, "", tmp_path)
    noted = await commands.note_backup(settings, written)
    with psycopg.connect(postgres_dsn, autocommit=True) as database:
        name = psycopg.sql.Identifier(database.info.dbname)
        database.execute(
            psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name)
        )
    of_a_copy = await commands.note_backup(settings, written)

    async with PostgresStore(postgres_dsn, pool_max=1) as store, store.begin() as tx:
        (entry,) = await tx.audit.newest(10)
        at = await tx.audit.last(BACKED_UP)
    assert (noted, of_a_copy) == (True, False)
    assert (entry.actor, entry.act, entry.subject) == (commands.operator(), BACKED_UP, "file")
    assert written["sha256"] in entry.detail and entry.at == at


def test_a_backup_into_a_folder_has_the_time_for_a_name(tmp_path):
    file = tmp_path / "mine"

    assert backups.named(file, START) == file
    assert backups.named(tmp_path, START).parent == tmp_path
    assert backups.named(tmp_path, START).name == "network-2026-01-01T120000Z.backup"
