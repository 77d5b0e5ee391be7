"""Runs a revision's SQL file, with limits on how long it may wait and work."""

from __future__ import annotations

from importlib import resources
from typing import Final

from alembic import op

# A migration that waits for a lock makes everybody behind it wait too: better that it fails and is tried again.
LIMITS: Final = "SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '120s';"


def run_file(name: str) -> None:
    """Runs `versions/<name>.sql`."""
    run(resources.files(f"{__package__}.versions").joinpath(f"{name}.sql").read_text("utf-8"))


def run(statements: str) -> None:
    """Runs the statements as they are: no percent sign or colon in them means anything."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(LIMITS)
    connection.execute(statements)
