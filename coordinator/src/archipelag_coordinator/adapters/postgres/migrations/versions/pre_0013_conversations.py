"""What people said to models and were answered: theirs for as long as they keep it."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0013_conversations"
down_revision = "pre_0012_owners"


def upgrade() -> None:
    sql.run_file(revision)
