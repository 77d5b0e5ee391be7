"""Procrastinate's way to the database, with connections of its own."""

from __future__ import annotations

from procrastinate import PsycopgConnector

POOL_MAX = 4


def chores_connector(dsn: str) -> PsycopgConnector:
    """Apart from the store's pool: the worker keeps one connection to listen on."""
    return PsycopgConnector(conninfo=dsn, min_size=1, max_size=POOL_MAX)
