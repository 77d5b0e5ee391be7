"""Coordinators say in which region they stand."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0021_regions"
down_revision = "pre_0020_waits"


def upgrade() -> None:
    sql.run_file(revision)
