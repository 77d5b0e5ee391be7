"""The PostgreSQL store keeps every promise of the port."""

from archipelag_coordinator.testing.check_store import CheckStore


class TestPostgresStore(CheckStore):
    """The fixture `store` is the real thing."""
