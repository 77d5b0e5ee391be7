"""How long jobs wait: everybody's lines are counted at once, and a customer may say by when."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0020_waits"
down_revision = "pre_0019_turns"


def upgrade() -> None:
    sql.run_file(revision)
