"""Links between regions that were taken back; when something was done last, by the audit log."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0023_operating"
down_revision = "pre_0022_traces"


def upgrade() -> None:
    sql.run_file(revision)
