"""Files of customers, the blobs that hold their bytes, and which of them a job reads."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0008_files"
down_revision = "pre_0007_publishing"


def upgrade() -> None:
    sql.run_file(revision)
