"""An index for what people spent over days."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0011_sums"
down_revision = "pre_0010_batches"


def upgrade() -> None:
    sql.run_file(revision)
