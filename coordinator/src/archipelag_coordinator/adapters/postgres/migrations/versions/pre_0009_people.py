"""People: sessions beside keys, links that sign in, identities at providers, and the audit log."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0009_people"
down_revision = "pre_0008_files"


def upgrade() -> None:
    sql.run_file(revision)
