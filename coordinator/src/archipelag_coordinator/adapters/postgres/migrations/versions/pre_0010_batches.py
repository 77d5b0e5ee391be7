"""Batches of jobs, and their inputs until each is a job."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0010_batches"
down_revision = "pre_0009_people"


def upgrade() -> None:
    sql.run_file(revision)
