"""Procrastinate's own tables, as its package brings them."""

from procrastinate.schema import SchemaManager

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0003_chores"
down_revision = "pre_0002_ledger"


def upgrade() -> None:
    sql.run(SchemaManager.get_schema())
