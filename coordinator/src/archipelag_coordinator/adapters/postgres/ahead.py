"""Connections on which a statement that nobody waits for travels with the one after it, in a single round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow

BEGIN: Final = b"BEGIN"


class StoreConnection(AsyncConnection[DictRow]):
    """Knows the server that it reached. Commits by itself, but for what follows `begin`: to be opened so."""

    server: str = ""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._ahead: list[tuple[bytes, Mapping[str, Any] | None]] = []

    @property
    def asked_nothing(self) -> bool:
        """Since `begin`, which did not go out yet."""
        return self._ahead == [(BEGIN, None)]

    def begin(self) -> None:
        """A transaction, with the next statement."""
        self._ahead.append((BEGIN, None))

    def later(self, statement: bytes, values: Mapping[str, Any]) -> None:
        """Executes it before the next statement, which raises its error and is not executed then."""
        self._ahead.append((statement, values))

    async def catch_up(self) -> None:
        """Executes what waits for the next statement."""
        if self._ahead:
            statement, values = self._ahead.pop()
            await self.execute(statement, values)

    def forget(self) -> None:
        """What waits for the next statement is not to be executed."""
        self._ahead.clear()

    async def execute(self, query: Any, params: Any = None, **more: Any) -> AsyncCursor[DictRow]:
        if not self._ahead:
            return await super().execute(query, params, **more)
        ahead, self._ahead = self._ahead, []
        # psycopg would begin a transaction in a round trip of its own; and to fetch within the pipeline takes another.
        async with self.pipeline():
            for statement, values in ahead:
                await super().execute(statement, values)
            return await super().execute(query, params, **more)
