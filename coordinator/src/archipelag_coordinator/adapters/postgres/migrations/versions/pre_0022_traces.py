"""A job keeps the trace of its request, so that whoever goes on with it goes on with that."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0022_traces"
down_revision = "pre_0021_regions"


def upgrade() -> None:
    sql.run_file(revision)
