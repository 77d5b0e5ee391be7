"""Users, API keys, Cargos, Islands, jobs, attempts, Coordinators and rates."""

from archipelag_coordinator.adapters.postgres.migrations import sql

revision = "pre_0001_nouns"
down_revision = None


def upgrade() -> None:
    sql.run_file(revision)
