"""A real PostgreSQL: it starts, survives a crash, ends orphans, and runs as root in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from archipelag_embedded import postgres
from archipelag_embedded.postgres import Postgres, servers_in

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def put(dsn: str, number: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", [number])


def kept(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM kept ORDER BY 1")]


def test_rows_and_address_survive_a_restart(embedded_directory: Path) -> None:
    server = Postgres(embedded_directory / "restart")
    first = server.start()
    put(first, 1)
    server.stop()

    second = server.start()
    rows = kept(second)
    server.stop()

    assert rows == [1]
    assert second == first
    assert servers_in(embedded_directory / "restart" / "data") == []


def test_committed_rows_survive_the_killing_of_the_whole_server(embedded_directory: Path) -> None:
    data = embedded_directory / "killed" / "data"
    server = Postgres(embedded_directory / "killed")
    put(server.start(), 7)
    killed = servers_in(data)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):  # It may have ended with its parent.
            process.kill()
    assert server.process is not None
    server.process.wait(10)

    successor = Postgres(embedded_directory / "killed")
    rows = kept(successor.start())
    successor.stop()

    assert len(killed) > 3
    assert rows == [7]


def test_a_stale_lock_file_with_a_living_strangers_number_does_not_stop_the_start(
    embedded_directory: Path,
) -> None:
    server = Postgres(embedded_directory / "stale", fast=True)
    server.start()
    server.stop()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (embedded_directory / "stale" / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n")

    server.start()
    server.stop()

    assert stranger.poll() is None
    stranger.communicate(b"\n")


def test_an_orphaned_server_is_ended_before_the_next_start(embedded_directory: Path) -> None:
    orphan = Postgres(embedded_directory / "orphan")
    put(orphan.start(), 3)
    assert orphan.process is not None

    server = Postgres(embedded_directory / "orphan")
    rows = kept(server.start())
    server.stop()

    assert rows == [3]
    assert not orphan.running


def test_the_server_ends_when_its_starter_is_killed(embedded_directory: Path) -> None:
    directory = embedded_directory / "starter"
    program = (
        "import sys, pathlib; from archipelag_embedded.postgres import Postgres\n"
        "server = Postgres(pathlib.Path(sys.argv[1]), fast=True)\n"
        "server.start(); print(server.process.pid, flush=True); input()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    server = psutil.Process(int(starter.stdout.readline()))

    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    psutil.wait_procs([server], timeout=20)

    assert servers_in(directory / "data") == []


def test_the_password_is_needed_and_private(postgres_server: Postgres, postgres_dsn: str) -> None:
    password = postgres_dsn.split(":")[2].split("@", maxsplit=1)[0]

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_dsn.replace(password, "wrong"))

    files = [file for file in postgres_server.directory.rglob("password*") if file.is_file()]
    assert files
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


def test_each_test_gets_an_empty_database(postgres_server: Postgres) -> None:
    postgres_server.create_database("pattern")
    put(postgres_server.dsn("pattern"), 5)

    copy = postgres_server.create_database("copy", template="pattern")
    put(copy, 6)

    assert kept(copy) == [5, 6]
    assert kept(postgres_server.dsn("pattern")) == [5]
    for name in ("copy", "pattern"):
        postgres_server.drop_database(name)
        assert not postgres_server.has_database(name)


def test_texts_are_utf8_and_sort_the_same_everywhere(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        encoding = connection.execute("SHOW server_encoding").fetchone()
        order = connection.execute("SELECT * FROM unnest(ARRAY['ä','Z','a']) AS t ORDER BY 1")

        assert encoding == ("UTF8",)
        assert [row[0] for row in order] == ["Z", "a", "ä"]


@as_root
@pytest.mark.parametrize("reachable", [True, False], ids=["reachable", "private"])
def test_as_root_without_namespaces_the_server_is_nobody(
    embedded_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    reachable: bool,
) -> None:
    system = embedded_directory / f"system-{reachable}"
    monkeypatch.setattr(postgres, "SYSTEM_HOME", system)
    folder = embedded_directory / f"as-nobody-{reachable}"
    folder.mkdir(mode=0o755 if reachable else 0o700)
    server = Postgres(folder / "postgres", identity=postgres.nobody())
    put(server.start(), 9)
    assert server.process is not None
    user = psutil.Process(server.process.pid).uids().real
    server.stop()

    # Without being told who to be, it finds the data of last time.
    successor = Postgres(folder / "postgres")
    rows = kept(successor.start())
    successor.stop()

    assert user == postgres.ids_of(postgres.nobody())[0]
    assert rows == [9]
    assert system.exists() is not reachable


@as_root
def test_a_program_nobody_can_reach_is_copied(
    embedded_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "open_to_all", lambda path: "pginstall" not in str(path))
    server = Postgres(embedded_directory / "copied", identity=postgres.nobody(), fast=True)

    server.start()
    assert server.process is not None
    program = psutil.Process(server.process.pid).exe()
    server.stop()

    assert program.startswith(str(embedded_directory / "copied"))


def test_a_start_that_fails_shows_what_the_server_said(
    embedded_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres.SETTINGS, "shared_buffers", "nonsense")
    server = Postgres(embedded_directory / "wrong", fast=True)

    with pytest.raises(postgres.CannotStart, match="shared_buffers"):
        server.start()
