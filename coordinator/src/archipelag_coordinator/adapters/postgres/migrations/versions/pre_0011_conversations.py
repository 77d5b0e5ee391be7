"""What people said to models and were answered: theirs for as long as they keep it."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0011_conversations"
down_revision = "pre_0009_people"


def upgrade() -> None:
    sql.run_file(revision)
