"""Links that sign people in, and who they are at a provider of sign-in, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from archipelag_contracts.ids import UserId

from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    Row,
    changed,
    inserts,
    one,
    plain,
)
from archipelag_coordinator.domain.identity import Identity
from archipelag_coordinator.domain.sign_in import SignIn
from archipelag_coordinator.errors import Conflict, LinkNotValid

_SIGN_IN: Final = ("hash", "email", "created_at", "expires_at", "next_path", "used_at")
ADD: Final = inserts("sign_ins", _SIGN_IN)
GET: Final = "SELECT * FROM sign_ins WHERE hash = %(hash)s"
# Of two at once the second waits here for the first one's row, and then finds it used.
TAKE: Final = """
    UPDATE sign_ins SET used_at = %(now)s
    WHERE hash = %(hash)s AND used_at IS NULL AND expires_at > %(now)s RETURNING *
"""
PRUNE: Final = "DELETE FROM sign_ins WHERE expires_at < %(before)s"

_IDENTITY: Final = ("issuer", "subject", "user_id", "created_at")
ADD_IDENTITY: Final = inserts("identities", _IDENTITY)
IDENTITY: Final = "SELECT * FROM identities WHERE issuer = %(issuer)s AND subject = %(subject)s"


class PostgresSignIns:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, sign_in: SignIn) -> None:
        values = {name: getattr(sign_in, name) for name in _SIGN_IN}
        await changed(self._connection, ADD, values)

    async def get(self, link_hash: bytes) -> SignIn | None:
        row = await one(self._connection, GET, {"hash": link_hash})
        return _sign_in(row) if row else None

    async def take(self, link_hash: bytes, now: datetime) -> SignIn:
        row = await one(self._connection, TAKE, {"hash": link_hash, "now": now})
        if row is not None:
            return _sign_in(row)
        standing = await self.get(link_hash)
        if standing is None:
            raise LinkNotValid("is unknown")
        standing.check_valid(now)
        raise Conflict("this sign-in link changed meanwhile: try again")

    async def prune(self, before: datetime) -> int:
        return await changed(self._connection, PRUNE, {"before": before})


class PostgresIdentities:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, identity: Identity) -> None:
        values = {name: getattr(identity, name) for name in _IDENTITY}
        await changed(self._connection, ADD_IDENTITY, values)

    async def get(self, issuer: str, subject: str) -> Identity | None:
        values = {"issuer": plain(issuer), "subject": plain(subject)}
        row = await one(self._connection, IDENTITY, values)
        if row is None:
            return None
        return Identity(row["issuer"], row["subject"], UserId(row["user_id"]), row["created_at"])


def _sign_in(row: Row) -> SignIn:
    return SignIn(**{name: row[name] for name in _SIGN_IN})
