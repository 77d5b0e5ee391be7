"""Links between regions that were taken back."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0023_links"
down_revision = "pre_0022_traces"


def upgrade() -> None:
    sql.run_file(revision)
