"""Pytest fixtures with a real PostgreSQL and real NATS servers.

Use them by `pytest_plugins = ["archipelag_embedded.fixtures"]` in the conftest.py at the root. To start
each database with a schema in it, override `postgres_template` with a session fixture that makes a
database (`postgres_server.create_database("schema")`), migrates it and returns its name.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipelag_embedded.nats import Nats, NatsCluster
from archipelag_embedded.postgres import Postgres

_numbers = itertools.count(1)
PATIENCE_S = 60.0
"""How long a test waits for what must come: far longer than it takes, since machines that run tests are busy."""


def chromium() -> str:
    """Debian's browser; without one the test is left out."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium here: as root on Debian, apt install chromium")
    return found


@pytest.fixture(scope="session")
def embedded_directory() -> Iterator[Path]:
    """A short path that an unprivileged server can enter, gone after the session."""
    directory = Path(tempfile.mkdtemp(prefix="archipelag-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(embedded_directory: Path) -> Iterator[Postgres]:
    """One server for the whole session, without durable writes."""
    server = Postgres(embedded_directory / "postgres", fast=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template() -> str:
    """The database that each test's own is a copy of; override it to start with a schema."""
    return "template0"


@pytest.fixture
def postgres_dsn(postgres_server: Postgres, postgres_template: str) -> Iterator[str]:
    """The address of a fresh database, dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield postgres_server.create_database(name, template=postgres_template)
    postgres_server.drop_database(name)


NatsFactory = Callable[..., Nats]


@pytest.fixture
def nats_server(embedded_directory: Path) -> Iterator[NatsFactory]:
    """Starts servers: `nats_server(config="…")` returns a running `Nats`; each is stopped at the end."""
    servers: list[Nats] = []

    def start(*, config: str = "", jetstream: bool = True, websocket: bool = False) -> Nats:
        directory = embedded_directory / f"nats-{next(_numbers)}"
        server = Nats(directory, config=config, jetstream=jetstream, websocket=websocket)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def nats_url(nats_server: NatsFactory) -> str:
    """The address of a fresh server that lets anybody in."""
    return nats_server().url


ClusterFactory = Callable[..., NatsCluster]


@pytest.fixture
def nats_cluster(embedded_directory: Path) -> Iterator[ClusterFactory]:
    """Starts clusters: `nats_cluster(size=3, config=…)` returns a running `NatsCluster`; each is stopped at the end."""
    clusters: list[NatsCluster] = []

    def start(*, size: int = 3, config: Callable[[Path], str] = lambda _: "") -> NatsCluster:
        cluster = NatsCluster(
            embedded_directory / f"cluster-{next(_numbers)}", size=size, config=config
        )
        clusters.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in clusters:
        cluster.stop()
