"""Each thing that the operator's doctor looks at, well and then broken for real: it names it, and says what to do."""

from __future__ import annotations

import asyncio
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from archipelag_coordinator import doctor
from archipelag_coordinator.adapters.nats import credentials
from archipelag_coordinator.config import Settings
from archipelag_coordinator.doctor import Finding, State, mail
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.nats import Nats
from archipelag_embedded.postgres import Postgres
from archipelag_embedded.process import free_port
from psycopg.conninfo import conninfo_to_dict, make_conninfo


@dataclass
class Clock:
    moved: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.moved

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Patient:
    """A network whose servers stand, without a Coordinator."""

    environ: dict[str, str]
    state_dir: Path
    broker: Nats
    dsn: str
    clock: Clock = field(default_factory=Clock)

    async def told(self) -> dict[str, Finding]:
        findings = await doctor.examine(self.environ, self.clock)
        return {finding.what.partition(" 127")[0]: finding for finding in findings}

    async def found(self, what: str) -> Finding:
        return (await self.told())[what]

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture
def patient(tmp_path: Path, postgres_dsn: str, nats_server: Callable[..., Nats]) -> Patient:
    state_dir = tmp_path / "state"
    keys = credentials.init_keys(state_dir)
    broker = nats_server(config=credentials.broker_config(keys, resolver_dir=tmp_path / "jwt"))
    environ = {
        "ARCHIPELAG_DATABASE_URL": postgres_dsn,
        "ARCHIPELAG_NATS_URL": broker.url,
        "ARCHIPELAG_STATE_DIR": str(state_dir),
        "ARCHIPELAG_HTTP_PORT": str(free_port()),
        "ARCHIPELAG_GRPC_PORT": str(free_port()),
    }
    return Patient(environ, state_dir, broker, postgres_dsn)


@pytest.fixture
def serving(patient: Patient, tmp_path: Path) -> Iterator[Patient]:
    """With a Coordinator, as a process."""
    program = [sys.executable, "-m", "archipelag_coordinator", "serve"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            program, env=os.environ | patient.environ, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{patient.environ['ARCHIPELAG_HTTP_PORT']}/api/v1/ready"
    until = time.monotonic() + PATIENCE_S
    try:
        while True:
            assert process.poll() is None and time.monotonic() < until, (
                tmp_path / "log"
            ).read_text()
            with suppress(httpx.HTTPError):
                if httpx.get(url).status_code == 200:
                    break
            time.sleep(0.1)
        yield patient
    finally:
        process.kill()
        process.wait()


async def test_network_that_is_well_has_nothing_to_mend(serving: Patient) -> None:
    told = await serving.told()

    assert [one for one in told.values() if one.state is State.FAIL] == []
    for what in (
        *("settings", "keys", "database", "connections", "clock", "locks", "schema", "ledger"),
        *("Coordinators", "broker", "JetStream", "stream REPORTS", "stream OUTPUT", "stream BLOBS"),
        *("HTTP door", "door for Islands"),
    ):
        assert told[what].state is State.OK, told[what]


def test_the_command_ends_with_the_status_that_scripts_go_by(patient: Patient) -> None:
    def ask() -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "archipelag_coordinator", "doctor"]
        environ = {"PATH": os.environ["PATH"]} | patient.environ
        return subprocess.run(program, env=environ, capture_output=True, text=True, check=False)

    well = ask()
    patient.environ["ARCHIPELAG_DATABASE_URL"] = f"postgresql://127.0.0.1:{free_port()}/none"
    broken = ask()

    # Nobody serves here, which is for the operator to know and no fault.
    assert well.returncode == 0, well.stdout + well.stderr
    assert "warn HTTP door: nothing listens" in well.stdout
    assert broken.returncode == 1 and "fail database" in broken.stdout
    assert "Traceback" not in broken.stdout + broken.stderr


async def test_settings_that_cannot_be_read_are_named_one_by_one(patient: Patient) -> None:
    patient.environ |= {"ARCHIPELAG_HTTP_PORT": "many", "ARCHIPELAG_NATS_URL": ""}

    told = await patient.told()

    assert {name: one.state for name, one in told.items()} == {
        "ARCHIPELAG_HTTP_PORT": State.FAIL,
        "ARCHIPELAG_NATS_URL": State.FAIL,
    }


def _no_state(patient: Patient) -> None:
    patient.environ["ARCHIPELAG_STATE_DIR"] += "-lost"


def _key_gone(patient: Patient) -> None:
    (patient.state_dir / "account.seed").unlink()


def _key_damaged(patient: Patient) -> None:
    (patient.state_dir / "account.seed").write_text("x")


def _key_for_all(patient: Patient) -> None:
    (patient.state_dir / "account.seed").chmod(0o644)


def _database_gone(patient: Patient) -> None:
    patient.environ["ARCHIPELAG_DATABASE_URL"] = f"postgresql://127.0.0.1:{free_port()}/none"


def _no_such_database(patient: Patient) -> None:
    url = patient.dsn
    patient.environ["ARCHIPELAG_DATABASE_URL"] = url.replace("/test_", "/no_such_")


def _wrong_password(patient: Patient) -> None:
    parts = conninfo_to_dict(patient.dsn)
    patient.environ["ARCHIPELAG_DATABASE_URL"] = make_conninfo(**parts | {"password": "another"})


def _schema_unknown(patient: Patient) -> None:
    patient.sql("UPDATE alembic_version SET version_num = 'pre_9999'")


def _schema_old(patient: Patient) -> None:
    patient.sql("UPDATE alembic_version SET version_num = 'pre_0001_nouns'")


def _schema_none(patient: Patient) -> None:
    patient.sql("DROP TABLE alembic_version")


def _table_gone(patient: Patient) -> None:
    patient.sql("DROP TABLE procrastinate_periodic_defers CASCADE")


def _broker_gone(patient: Patient) -> None:
    patient.environ["ARCHIPELAG_NATS_URL"] = f"nats://127.0.0.1:{free_port()}"


def _other_network(patient: Patient) -> None:
    """Its keys are another network's: the broker does not know them."""
    other = patient.state_dir.with_name("other")
    credentials.init_keys(other)
    patient.environ["ARCHIPELAG_STATE_DIR"] = str(other)


BREAKAGES: dict[str, tuple[Callable[[Patient], None], str, str, str]] = {
    "no state": (_no_state, "keys", "is no folder", "keys init"),
    "a key is gone": (_key_gone, "keys", "not usable", "account.seed is missing"),
    "a damaged key": (_key_damaged, "keys", "not usable", "restore it from a backup"),
    "a key for all to read": (_key_for_all, "keys", "not usable", "chmod 600"),
    "no database server": (_database_gone, "database", "refused", "that PostgreSQL runs"),
    "no such database": (_no_such_database, "database", "does not exist", "DATABASE_URL"),
    "a wrong password": (_wrong_password, "database", "authentication failed", "pg_hba.conf"),
    "a newer schema": (_schema_unknown, "schema", "pre_9999 is not known", "update this one"),
    "an older schema": (
        _schema_old,
        "schema",
        "pre_0001_nouns, not",
        "archipelag-coordinator migrate",
    ),
    "no schema": (_schema_none, "schema", "none, not", "archipelag-coordinator migrate"),
    "a table is gone": (_table_gone, "database", "procrastinate_periodic_defers", "own the"),
    "no broker": (_broker_gone, "broker", "refused", "ARCHIPELAG_NATS_URL"),
    "a broker of others": (_other_network, "broker", "does not let", "broker-config"),
}


@pytest.mark.parametrize("name", BREAKAGES)
async def test_what_is_broken_is_named_with_what_to_do(patient: Patient, name: str) -> None:
    break_it, what, found, advice = BREAKAGES[name]
    break_it(patient)

    finding = await patient.found(what)

    assert finding.state is State.FAIL
    assert found in finding.found, finding
    assert advice in finding.advice, finding


async def test_books_that_somebody_changed_past_the_coordinator_are_found(
    patient: Patient, postgres_server: Postgres
) -> None:
    before = await patient.found("ledger")
    statements = (
        "INSERT INTO accounts (id, balance, held) VALUES ('platform:fees', 0, 0) ON CONFLICT DO NOTHING",
        "UPDATE accounts SET balance = balance + 5 WHERE id = 'platform:fees'",
    )
    with psycopg.connect(patient.dsn, autocommit=True) as connection:
        # As only the owner of the database can: the guards would refuse it.
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)

    finding = await patient.found("ledger")

    assert before.state is State.OK
    assert finding.state is State.FAIL and "platform:fees: 5 kept, 0 by" in finding.found


@pytest.mark.parametrize(
    ("moved_s", "state"), [(0, State.OK), (5, State.WARN), (-5, State.WARN), (3600, State.FAIL)]
)
async def test_clock_is_held_against_the_databases(
    patient: Patient, moved_s: int, state: State
) -> None:
    patient.clock.moved = timedelta(seconds=moved_s)

    finding = await patient.found("clock")

    assert finding.state is state
    assert bool(finding.advice) is (state is not State.OK)


async def test_who_waits_for_a_lock_and_who_holds_it_are_named(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipelag_coordinator.doctor.database.WAIT_WARN_S", 0)
    monkeypatch.setattr("archipelag_coordinator.doctor.database.IDLE_WARN_S", 0)
    async with (
        await psycopg.AsyncConnection.connect(patient.dsn) as holder,
        await psycopg.AsyncConnection.connect(patient.dsn) as waiter,
    ):
        await holder.execute("LOCK TABLE users IN SHARE MODE")
        waiting = asyncio.create_task(waiter.execute("LOCK TABLE users IN EXCLUSIVE MODE"))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with await psycopg.AsyncConnection.connect(patient.dsn, autocommit=True) as third:
            while await (await third.execute(asked)).fetchone() == (0,):  # noqa: ASYNC110 - the server has no event of it
                await asyncio.sleep(0.01)

        findings = await doctor.examine(patient.environ, patient.clock)
        await holder.rollback()
        await waiting

    locks = [one for one in findings if one.what == "locks"]
    assert {one.state for one in locks} == {State.WARN}
    assert any("has waited" in one.found and "LOCK TABLE users" in one.found for one in locks)
    assert any("pg_terminate_backend" in one.advice for one in locks)
    assert any("left a transaction open" in one.found for one in locks)


async def test_chores_that_nobody_does_and_those_that_fail_are_told(patient: Patient) -> None:
    never = await patient.found("chores")
    patient.sql(
        "INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, periodic_id) "
        "VALUES ('expire', extract(epoch FROM clock_timestamp())::bigint - 3600, '')"
    )
    stopped = await patient.found("chores")
    patient.sql(
        "UPDATE procrastinate_periodic_defers SET defer_timestamp = extract(epoch FROM clock_timestamp())::bigint"
    )
    alive = await patient.found("chores")
    patient.sql(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status) "
        "VALUES ('chores', 'expire', '{}', 'failed')"
    )
    failed = await patient.found("chores")

    assert never.state is State.WARN and "none was ever begun" in never.found
    assert stopped.state is State.WARN and "60 min ago" in stopped.found
    assert alive.state is State.OK
    assert failed.state is State.WARN and "1 failed for good" in failed.found


async def test_broker_without_a_store_or_streams_is_told(
    patient: Patient, nats_server: Callable[..., Nats], tmp_path: Path
) -> None:
    keys = credentials.load_keys(patient.state_dir)
    config = credentials.broker_config(keys, resolver_dir=tmp_path / "jwt2")
    without_streams = await patient.told()
    patient.environ["ARCHIPELAG_NATS_URL"] = nats_server(config=config, jetstream=False).url

    without_store = await patient.told()

    assert without_streams["JetStream"].state is State.OK
    assert without_streams["stream REPORTS"].state is State.WARN
    assert "is not there" in without_streams["stream REPORTS"].found
    assert without_store["broker"].state is State.OK
    assert without_store["JetStream"].state is State.FAIL
    assert "start the server with JetStream" in without_store["JetStream"].advice


async def test_another_program_at_our_doors_is_told_apart(patient: Patient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        patient.environ |= {"ARCHIPELAG_HTTP_PORT": port, "ARCHIPELAG_GRPC_PORT": port}
        told = await patient.told()

    for what in ("HTTP door", "door for Islands"):
        assert told[what].state is State.FAIL
        assert "is no Coordinator" in told[what].found
        assert "another program has this port" in told[what].advice


async def test_address_for_islands_that_cannot_be_reached_is_told(patient: Patient) -> None:
    patient.environ["ARCHIPELAG_BROKER_PUBLIC_URLS"] = f"nats://127.0.0.1:{free_port()}"

    finding = await patient.found("broker for Islands")

    assert finding.state is State.WARN and "BROKER_PUBLIC_URLS" in finding.advice


class Mail(socketserver.StreamRequestHandler):
    """An SMTP server that knows one password, and no TLS."""

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line.split()[0].upper()
            if word == b"EHLO":
                self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif word == b"AUTH":
                # NUL, user, NUL, good.
                right = line.split()[2] == b"AHVzZXIAZ29vZA=="
                self.wfile.write(b"235 yes\r\n" if right else b"535 no\r\n")
            elif word == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def mail_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            serving.join()


async def test_mail_server_is_asked_without_a_mail_being_sent(mail_port: int) -> None:
    async def told(url: str) -> Finding:
        (finding,) = await mail.examine(Settings("", "", Path(), smtp_url=url))
        return finding

    at = f"127.0.0.1:{mail_port}"
    plain, right = await told(f"smtp://{at}"), await told(f"smtp://user:good@{at}")
    wrong, secure = await told(f"smtp://user:bad@{at}"), await told(f"smtp+starttls://{at}")
    gone, nonsense = await told(f"smtp://127.0.0.1:{free_port()}"), await told("mail.example")

    assert (plain.state, right.state) == (State.OK, State.OK)
    assert wrong.state is State.FAIL and "does not take our password" in wrong.found
    assert secure.state is State.FAIL and "STARTTLS" in secure.found
    assert gone.state is State.FAIL and "refused" in gone.found
    assert nonsense.state is State.FAIL and "must be smtps://" in nonsense.advice
    assert (await told("")).state is State.WARN
    assert not any("good" in one.found or "bad" in one.found for one in (right, wrong))


async def test_what_the_coordinator_would_not_take_for_a_mail_server_is_no_good_here_either() -> (
    None
):
    (finding,) = await mail.examine(Settings("", "", Path(), smtp_url="smtp://a:b@mail.example"))

    assert finding.state is State.FAIL and "password in the clear" in finding.advice


async def test_mail_that_stays_on_this_machine_needs_no_server() -> None:
    (finding,) = await mail.examine(Settings("", "", Path(), local_mailbox=True))

    assert finding.state is State.OK and "http://127.0.0.1:8420/mailbox" in finding.found


def _another_stands(patient: Patient, region: str) -> None:
    """Alive by the database, and nowhere on the broker."""
    patient.sql(
        "INSERT INTO coordinators (relay, seen_at, region)"
        f" VALUES ('rly_01m8fxpx15ahx76e52cbfvvbrd', clock_timestamp(), '{region}')"
    )


async def test_regions_whose_brokers_do_not_see_each_other_are_named(patient: Patient) -> None:
    patient.environ |= {"ARCHIPELAG_REGION": "east", "ARCHIPELAG_BLOBS": "nats:east"}
    alone = await patient.told()
    _another_stands(patient, "west")

    found = await patient.found("region west")

    assert not any(what.startswith("region") for what in alone)
    assert found.state is State.FAIL
    assert found.found.startswith("1 of its Coordinators live by the database")
    assert "keys link" in found.advice


async def test_a_coordinator_without_a_region_among_some_with_one_is_told(patient: Patient) -> None:
    _another_stands(patient, "west")

    found = await patient.found("region")

    assert (found.state, "stand in west" in found.found) == (State.WARN, True)
