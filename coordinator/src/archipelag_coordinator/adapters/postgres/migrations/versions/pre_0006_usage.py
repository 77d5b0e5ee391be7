"""What every ended attempt used, what was paid for it, and what it says of its Island."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0006_usage"
down_revision = "pre_0005_items"


def upgrade() -> None:
    sql.run_file(revision)
