"""Connections on which a statement that nobody waits for travels with the one after it, in a single round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import DictRow

BEGIN: Final = b"BEGIN"
REFUSALS: Final = (psycopg.IntegrityError, psycopg.errors.DivisionByZero)
"""How a statement refuses by itself, and undoes its transaction: a guard of the database, or `or_refuse`."""

Why = Callable[[], Awaitable[Exception]]
"""What a refusal means, asked once its transaction is undone."""


def or_refuse(change: str) -> str:
    """A statement that must touch a row, or its transaction is undone. `change` ends with RETURNING."""
    return f"WITH changed AS ({change}) SELECT 1 / count(*) FROM changed"


@dataclass(frozen=True)
class _Ahead:
    statement: bytes
    values: Mapping[str, Any] | None = None
    why: Why | None = None


_BEGIN: Final = _Ahead(BEGIN)


class StoreConnection(AsyncConnection[DictRow]):
    """Knows the server that it reached. Commits by itself, but for what follows `begin`: to be opened so."""

    server: str = ""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._ahead: list[_Ahead] = []
        self.refused: Why | None = None
        """Why this transaction is undone, where the statement that refused can say it."""

    @property
    def asked_nothing(self) -> bool:
        """Since `begin`, which did not go out yet."""
        return self._ahead == [_BEGIN]

    @property
    def has_ahead(self) -> bool:
        """Whether something waits for the next statement."""
        return bool(self._ahead)

    def begin(self) -> None:
        """A transaction, with the next statement."""
        self._ahead.append(_BEGIN)

    def later(
        self, statement: bytes, values: Mapping[str, Any] | None = None, why: Why | None = None
    ) -> None:
        """Executes it before the next statement, which raises its error and is not executed then, be it the COMMIT.
        `why`: what its refusal means."""
        self._ahead.append(_Ahead(statement, values, why))

    def forget(self) -> None:
        """What waits for the next statement is not to be executed."""
        self._ahead.clear()
        self.refused = None

    async def execute(self, query: Any, params: Any = None, **more: Any) -> AsyncCursor[DictRow]:
        if not self._ahead:
            return await super().execute(query, params, **more)
        ahead, self._ahead = self._ahead, []
        sent: list[AsyncCursor[DictRow]] = []
        try:
            # psycopg would begin a transaction in a round trip of its own; and to fetch within the pipeline takes
            # another.
            async with self.pipeline():
                for one in ahead:
                    sent.append(await super().execute(one.statement, one.values))
                return await super().execute(query, params, **more)
        except REFUSALS:
            # Those before it have their results.
            done = sum(cursor.pgresult is not None for cursor in sent)
            self.refused = ahead[done].why if done < len(ahead) else None
            raise
