"""Users and API keys in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.adapters.postgres.ahead import or_refuse
from archipelag_coordinator.adapters.postgres.rows import (
    Connection,
    changed,
    every,
    inserts,
    later,
    one,
    plain,
)
from archipelag_coordinator.domain.user import ApiKey, KeyKind, Role, Scope, User
from archipelag_coordinator.errors import AlreadyMade, BudgetExceeded, NotFound

_USER: Final = ("id", "email", "role", "created_at", "suspended")
_KEY: Final = (
    "id",
    "user_id",
    "name",
    "prefix",
    "hash",
    "scopes",
    "created_at",
    "last_used_at",
    "expires_at",
    "revoked_at",
    "budget",
    "used",
    "rate_per_minute",
    "kind",
    "user_agent",
    "idempotency_key",
)
ADD_USER: Final = inserts("users", _USER)
USER: Final = "SELECT * FROM users WHERE id = %(id)s"
BY_EMAIL: Final = "SELECT * FROM users WHERE lower(email) = lower(%(email)s)"
TURN: Final = "SELECT pg_advisory_xact_lock(hashtext('archipelag people'))"
COUNT: Final = "SELECT count(*) AS count FROM users"
ADMINS: Final = "SELECT count(*) AS count FROM users WHERE role = 'admin' AND NOT suspended"
SAVE: Final = "UPDATE users SET role = %(role)s, suspended = %(suspended)s WHERE id = %(id)s"
_FOUND: Final = """
    (%(search)s = '' OR strpos(lower(email), lower(%(search)s)) > 0 OR id = %(search)s)
"""
FIND: Final = f"""
    SELECT * FROM users WHERE {_FOUND} ORDER BY created_at DESC, id DESC
    LIMIT %(limit)s OFFSET %(offset)s
"""
FIND_ALL: Final = f"SELECT count(*) AS count FROM users WHERE {_FOUND}"

ADD_KEY: Final = inserts(
    "api_keys",
    _KEY,
    beyond="ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
)
MADE_BY: Final = (
    "SELECT id FROM api_keys WHERE user_id = %(user_id)s AND idempotency_key = %(idempotency_key)s"
)
KEY: Final = "SELECT * FROM api_keys WHERE id = %(id)s AND user_id = %(user)s"
KEYS_OF: Final = """
    SELECT * FROM api_keys WHERE user_id = %(user)s AND kind = 'key'
    ORDER BY created_at DESC, id DESC
"""
SESSIONS_OF: Final = """
    SELECT * FROM api_keys WHERE user_id = %(user)s AND kind = 'session'
        AND revoked_at IS NULL AND expires_at > %(now)s
    ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""
REVOKE: Final = """
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, %(now)s)
    WHERE id = %(id)s AND user_id = %(user)s AND kind = %(kind)s RETURNING *
"""
REVOKE_SESSIONS: Final = """
    UPDATE api_keys SET revoked_at = %(now)s WHERE user_id = %(user)s AND kind = 'session'
        AND revoked_at IS NULL AND expires_at > %(now)s
"""
LOCKED_KEY: Final = "SELECT * FROM api_keys WHERE user_id = %(user)s AND id = %(id)s AND kind = 'key' FOR NO KEY UPDATE"
SAVE_KEY: Final = """
    UPDATE api_keys SET name = %(name)s, budget = %(budget)s, rate_per_minute = %(rate_per_minute)s,
        expires_at = %(expires_at)s
    WHERE id = %(id)s
"""
# Refused by the key's own guard; both go with the COMMIT, as what the account holds does.
RESERVE: Final = or_refuse(
    "UPDATE api_keys SET used = used + %(amount)s WHERE id = %(id)s RETURNING id"
)
BUDGET: Final = "SELECT budget - used AS available FROM api_keys WHERE id = %(id)s"
RELEASE: Final = or_refuse(
    "UPDATE api_keys SET used = greatest(0, used - %(amount)s) WHERE id = %(id)s RETURNING id"
)


class PostgresUsers:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, user: User) -> None:
        values = {name: getattr(user, name) for name in _USER} | {"role": user.role.value}
        await changed(self._connection, ADD_USER, values)

    async def get(self, user: UserId) -> User | None:
        row = await one(self._connection, USER, {"id": user})
        return user_of(row) if row else None

    async def by_email(self, email: str) -> User | None:
        row = await one(self._connection, BY_EMAIL, {"email": plain(email)})
        return user_of(row) if row else None

    async def wait_turn(self) -> None:
        await one(self._connection, TURN, {})

    async def count(self) -> int:
        return await self._count(COUNT, {})

    async def admins(self) -> int:
        return await self._count(ADMINS, {})

    async def save(self, user: User) -> None:
        values = {"id": user.id, "role": user.role.value, "suspended": user.suspended}
        if not await changed(self._connection, SAVE, values):
            raise NotFound("user", user.id)

    async def find(self, *, limit: int, offset: int, search: str = "") -> tuple[list[User], int]:
        values = {"limit": limit, "offset": offset, "search": plain(search)}
        rows = await every(self._connection, FIND, values)
        return [user_of(row) for row in rows], await self._count(FIND_ALL, values)

    async def _count(self, statement: str, values: Mapping[str, Any]) -> int:
        row = await one(self._connection, statement, values)
        assert row is not None
        return int(row["count"])


class PostgresKeys:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, key: ApiKey) -> None:
        values = {name: getattr(key, name) for name in _KEY}
        values |= {
            "name": plain(key.name),
            "scopes": sorted(s.value for s in key.scopes),
            "kind": key.kind.value,
            "user_agent": plain(key.user_agent),
        }
        if not await changed(self._connection, ADD_KEY, values):
            standing = await one(self._connection, MADE_BY, values)
            assert standing is not None, "a key keeps its idempotency key"
            raise AlreadyMade(standing["id"])

    async def get(self, user: UserId, key: ApiKeyId) -> ApiKey | None:
        row = await one(self._connection, KEY, {"user": user, "id": key})
        return key_of(row) if row else None

    async def of_user(self, user: UserId) -> list[ApiKey]:
        return [key_of(row) for row in await every(self._connection, KEYS_OF, {"user": user})]

    async def sessions_of(self, user: UserId, now: datetime, limit: int) -> list[ApiKey]:
        values = {"user": user, "now": now, "limit": limit}
        return [key_of(row) for row in await every(self._connection, SESSIONS_OF, values)]

    async def revoke(
        self, user: UserId, key: ApiKeyId, now: datetime, kind: KeyKind = KeyKind.KEY
    ) -> ApiKey | None:
        values = {"user": user, "id": key, "now": now, "kind": kind.value}
        row = await one(self._connection, REVOKE, values)
        return key_of(row) if row else None

    async def revoke_sessions(self, user: UserId, now: datetime) -> int:
        return await changed(self._connection, REVOKE_SESSIONS, {"user": user, "now": now})

    async def lock(self, user: UserId, key: ApiKeyId) -> ApiKey | None:
        row = await one(self._connection, LOCKED_KEY, {"user": user, "id": key})
        return key_of(row) if row else None

    async def save(self, key: ApiKey) -> None:
        values = {
            "id": key.id,
            "name": plain(key.name),
            "budget": key.budget,
            "rate_per_minute": key.rate_per_minute,
            "expires_at": key.expires_at,
        }
        if not await changed(self._connection, SAVE_KEY, values):
            raise NotFound("API key", key.id)

    async def reserve(self, key: ApiKeyId, amount: Ucredits) -> None:
        values = {"id": key, "amount": amount}
        later(self._connection, RESERVE, values, partial(self._over_budget, key, amount))

    async def _over_budget(self, key: ApiKeyId, amount: Ucredits) -> BudgetExceeded | NotFound:
        row = await one(self._connection, BUDGET, {"id": key})
        if row is None:
            return NotFound("API key", key)
        return BudgetExceeded(amount, max(0, row["available"]))

    async def release(self, key: ApiKeyId, amount: Ucredits) -> None:
        values = {"id": key, "amount": amount}
        later(self._connection, RELEASE, values, partial(self._unknown, key))

    async def _unknown(self, key: ApiKeyId) -> NotFound:
        return NotFound("API key", key)


def user_of(row: Mapping[str, Any]) -> User:
    return User(**{name: row[name] for name in _USER} | {"role": Role(row["role"])})


def key_of(row: Mapping[str, Any]) -> ApiKey:
    values = {name: row[name] for name in _KEY}
    scopes = frozenset(Scope(s) for s in row["scopes"])
    return ApiKey(**values | {"scopes": scopes, "kind": KeyKind(row["kind"])})
