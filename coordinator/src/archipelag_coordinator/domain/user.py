"""People and their programs' credentials."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.errors import (
    BudgetExceeded,
    InvalidInput,
    NotAuthenticated,
    NotPermitted,
)

KEY_SHAPE: Final = re.compile(r"ak_[0-9A-Za-z]{43}")
KEY_PREFIX_LENGTH: Final = 10
KEY_NAME_MAX: Final = 100
RATE_MAX: Final = 1_000_000
"""Requests a minute."""


class Role(StrEnum):
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"


class KeyKind(StrEnum):
    KEY = "key"
    SESSION = "session"


@dataclass(frozen=True)
class User:
    id: UserId
    email: str
    role: Role
    created_at: datetime
    suspended: bool = False

    def looks_after(self, owner: UserId | None) -> bool:
        """Whether what is this owner's is theirs to see: their own, or, for operators, everybody's and nobody's."""
        return self.id == owner or self.role in (Role.OPERATOR, Role.ADMIN)


@dataclass(frozen=True)
class ApiKey:
    """A program's credential, or a browser's: a session. The secret is never stored: `hash` is its SHA-256, enough for
    256 bits of chance."""

    id: ApiKeyId
    user_id: UserId
    name: str
    prefix: str
    hash: bytes
    scopes: frozenset[Scope]
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    budget: Ucredits | None = None
    used: Ucredits = Ucredits(0)
    """Charged and reserved so far through this key."""
    rate_per_minute: int | None = None
    """None: the network's default."""
    kind: KeyKind = KeyKind.KEY
    user_agent: str = ""
    """What the browser of a session called itself."""
    idempotency_key: str | None = None
    """Of the request that made it: asked again, it makes no other."""

    def check_usable(self, now: datetime) -> None:
        """Raises NotAuthenticated."""
        what = "session" if self.kind is KeyKind.SESSION else "API key"
        if self.revoked_at is not None:
            raise NotAuthenticated(f"this {what} was revoked")
        if self.expires_at is not None and now >= self.expires_at:
            raise NotAuthenticated(f"this {what} has expired")

    def check_scope(self, needed: Scope) -> None:
        """Raises NotPermitted. `write` includes `read`."""
        if needed not in self.scopes and Scope.WRITE not in self.scopes:
            raise NotPermitted(f"the scope {needed.value!r}")

    def check_budget(self, amount: Ucredits) -> None:
        """Raises BudgetExceeded when `amount` more would go over this key's budget."""
        if self.budget is not None and self.used + amount > self.budget:
            raise BudgetExceeded(required=amount, available=max(0, self.budget - self.used))

    def revoke(self, now: datetime) -> ApiKey:
        """Revoking twice changes nothing."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)


def hash_secret(secret: str) -> bytes:
    """What is stored of an API key. Raises NotAuthenticated when it is not of an API key's shape."""
    if not KEY_SHAPE.fullmatch(secret):
        raise NotAuthenticated("this is not an API key of this network (they begin with ak_)")
    return hashlib.sha256(secret.encode()).digest()


def new_key(
    key_id: ApiKeyId,
    user_id: UserId,
    secret: str,
    *,
    name: str,
    scopes: frozenset[Scope],
    now: datetime,
    expires_at: datetime | None = None,
    budget: Ucredits | None = None,
    rate_per_minute: int | None = None,
    idempotency_key: str | None = None,
) -> ApiKey:
    """A key with the given secret. Raises InvalidInput with every problem."""
    errors: dict[str, list[str]] = {}
    if not 0 < len(name.strip()) <= KEY_NAME_MAX:
        errors["name"] = [f"must have 1 to {KEY_NAME_MAX} characters"]
    if not scopes:
        errors["scopes"] = ["must name at least one of: read, write"]
    if expires_at is not None and expires_at <= now:
        errors["expires_at"] = ["must lie in the future"]
    if budget is not None and budget < 0:
        errors["budget"] = ["must not be negative"]
    if rate_per_minute is not None and not 1 <= rate_per_minute <= RATE_MAX:
        errors["rate_per_minute"] = [f"must be 1 to {RATE_MAX}"]
    if errors:
        raise InvalidInput(errors)
    return ApiKey(
        id=key_id,
        user_id=user_id,
        name=name.strip(),
        prefix=secret[:KEY_PREFIX_LENGTH],
        hash=hash_secret(secret),
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
        budget=budget,
        rate_per_minute=rate_per_minute,
        idempotency_key=idempotency_key,
    )
