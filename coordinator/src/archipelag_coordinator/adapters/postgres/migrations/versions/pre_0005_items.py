"""The items of running answers, and where each ends in a finished one, so that any Coordinator can go on with them."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0005_items"
down_revision = "pre_0004_parts"


def upgrade() -> None:
    sql.run_file(revision)
