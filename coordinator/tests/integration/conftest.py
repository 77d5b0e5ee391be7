"""A migrated database that each test gets a copy of."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_embedded.postgres import Postgres


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Postgres) -> str:
    migrate(postgres_server.create_database("schema"))
    return "schema"


@pytest.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres_dsn) as opened:
        yield opened


@pytest.fixture
def database(postgres_dsn: str):
    """A connection past the store, as somebody with SQL in their hands has it."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection
