"""Brings a database to the newest schema; safe when several Coordinators start at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config

LOCK: Final = (
    0x41524348_00000001  # "ARCH": advisory locks are numbers, shared by all who use the database
)
HERE: Final = Path(__file__).parent / "migrations"


def migrate(dsn: str, *, to: str = "head") -> None:
    """Applies what is missing. Waits while another process does the same, and then finds nothing to do."""
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn),
        poolclass=sqlalchemy.pool.NullPool,
    )
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    with psycopg.connect(dsn, autocommit=True) as guard:
        # Held by this connection, so that it is let go however this process ends.
        guard.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, to)
