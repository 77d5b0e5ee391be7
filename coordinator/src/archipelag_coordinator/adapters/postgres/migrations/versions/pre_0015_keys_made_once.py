"""API keys know the request that made them, and batches are listed."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0015_keys_made_once"
down_revision = "pre_0014_wishes"


def upgrade() -> None:
    sql.run_file(revision)
