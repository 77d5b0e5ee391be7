"""Fees and insurance in sixteen rows each, so that settlements do not queue for one."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0004_parts"
down_revision = "pre_0003_chores"


def upgrade() -> None:
    sql.run_file(revision)
