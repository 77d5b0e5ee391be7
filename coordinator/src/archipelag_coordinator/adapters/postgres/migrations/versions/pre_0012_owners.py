"""An index for those who look at their own Islands."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0012_owners"
down_revision = "pre_0009_people"


def upgrade() -> None:
    sql.run_file(revision)
