"""Accounts, transfers, entries and reservations, which the database itself keeps honest."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0002_ledger"
down_revision = "pre_0001_nouns"


def upgrade() -> None:
    sql.run_file(revision)
