"""Jobs wait in a line for each account and Cargo."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0019_turns"
down_revision = "pre_0015_keys_made_once"


def upgrade() -> None:
    sql.run_file(revision)
