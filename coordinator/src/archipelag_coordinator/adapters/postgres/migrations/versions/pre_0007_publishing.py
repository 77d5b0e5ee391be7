"""Cargos that users publish, what was found out about them, and the signed documents of the catalogue."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0007_publishing"
down_revision = "pre_0006_usage"


def upgrade() -> None:
    sql.run_file(revision)
