"""What owners ask of their Islands from afar."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0014_wishes"
down_revision = "pre_0013_conversations"


def upgrade() -> None:
    sql.run_file(revision)
