"""People in memory: users, their keys and sessions, links that sign in, identities and the audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.audit import Entry, Head, follow
from archipelag_coordinator.domain.identity import Identity
from archipelag_coordinator.domain.sign_in import SignIn
from archipelag_coordinator.domain.user import ApiKey, KeyKind, Role, User
from archipelag_coordinator.errors import AlreadyMade, Conflict, LinkNotValid, NotFound
from archipelag_coordinator.testing.memory_state import State


class MemoryUsers:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, user: User) -> None:
        if await self.by_email(user.email) is not None:
            raise Conflict("a user with this e-mail address stands already")
        self._state.users.add(user.id, user)

    async def get(self, user: UserId) -> User | None:
        return self._state.users.get(user)

    async def by_email(self, email: str) -> User | None:
        wanted = email.lower()
        return next((u for u in self._state.users if u.email.lower() == wanted), None)

    async def wait_turn(self) -> None:
        """Transactions are one after another anyway."""

    async def count(self) -> int:
        return len(self._state.users)

    async def admins(self) -> int:
        return sum(u.role is Role.ADMIN and not u.suspended for u in self._state.users)

    async def save(self, user: User) -> None:
        stored = self._state.users.get(user.id)
        if stored is None:
            raise NotFound("user", user.id)
        kept = replace(stored, role=user.role, suspended=user.suspended)
        self._state.users.put(user.id, kept)

    async def find(self, *, limit: int, offset: int, search: str = "") -> tuple[list[User], int]:
        found = [
            u for u in self._state.users if search.lower() in u.email.lower() or u.id == search
        ]
        newest = sorted(found, key=lambda u: (u.created_at, u.id), reverse=True)
        return newest[offset : offset + limit], len(newest)


class MemoryKeys:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, key: ApiKey) -> None:
        if key.user_id not in self._state.users:
            raise Conflict(f"{key.id} names a user that is not stored")
        if any(k.hash == key.hash for k in self._state.keys):
            raise Conflict("an API key with this secret stands already")
        if key.idempotency_key is not None:
            for one in self._state.keys:
                if (one.user_id, one.idempotency_key) == (key.user_id, key.idempotency_key):
                    raise AlreadyMade(one.id)
        self._state.keys.add(key.id, key)

    async def get(self, user: UserId, key: ApiKeyId) -> ApiKey | None:
        found = self._state.keys.get(key)
        return found if found is not None and found.user_id == user else None

    async def of_user(self, user: UserId) -> list[ApiKey]:
        return [k for k in self._newest(user) if k.kind is KeyKind.KEY]

    async def sessions_of(self, user: UserId, now: datetime, limit: int) -> list[ApiKey]:
        return [k for k in self._newest(user) if _holds(k, now)][:limit]

    async def revoke(
        self, user: UserId, key: ApiKeyId, now: datetime, kind: KeyKind = KeyKind.KEY
    ) -> ApiKey | None:
        found = await self.get(user, key)
        if found is None or found.kind is not kind:
            return None
        revoked = found.revoke(now)
        self._state.keys.put(key, revoked)
        return revoked

    async def revoke_sessions(self, user: UserId, now: datetime) -> int:
        holding = [k for k in self._newest(user) if _holds(k, now)]
        for key in holding:
            self._state.keys.put(key.id, key.revoke(now))
        return len(holding)

    async def lock(self, user: UserId, key: ApiKeyId) -> ApiKey | None:
        found = await self.get(user, key)
        return found if found is not None and found.kind is KeyKind.KEY else None

    async def save(self, key: ApiKey) -> None:
        stored = self._known(key.id)
        if key.budget is not None and stored.used > key.budget:
            raise Conflict(f"{key.id} has used more than that")
        changed = replace(
            stored,
            name=key.name,
            budget=key.budget,
            rate_per_minute=key.rate_per_minute,
            expires_at=key.expires_at,
        )
        self._state.keys.put(key.id, changed)

    async def reserve(self, key: ApiKeyId, amount: Ucredits) -> None:
        found = self._known(key)
        found.check_budget(amount)
        self._state.keys.put(key, replace(found, used=Ucredits(found.used + amount)))

    async def release(self, key: ApiKeyId, amount: Ucredits) -> None:
        found = self._known(key)
        self._state.keys.put(key, replace(found, used=Ucredits(max(0, found.used - amount))))

    def _known(self, key: ApiKeyId) -> ApiKey:
        found = self._state.keys.get(key)
        if found is None:
            raise NotFound("API key", key)
        return found

    def _newest(self, user: UserId) -> list[ApiKey]:
        found = [k for k in self._state.keys if k.user_id == user]
        return sorted(found, key=lambda k: (k.created_at, k.id), reverse=True)


class MemorySignIns:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, sign_in: SignIn) -> None:
        self._state.sign_ins.add(sign_in.hash, sign_in)

    async def get(self, link_hash: bytes) -> SignIn | None:
        return self._state.sign_ins.get(link_hash)

    async def take(self, link_hash: bytes, now: datetime) -> SignIn:
        found = self._state.sign_ins.get(link_hash)
        if found is None:
            raise LinkNotValid("is unknown")
        found.check_valid(now)
        taken = replace(found, used_at=now)
        self._state.sign_ins.put(link_hash, taken)
        return taken

    async def prune(self, before: datetime) -> int:
        old = [one.hash for one in self._state.sign_ins if one.expires_at < before]
        for link_hash in old:
            self._state.sign_ins.remove(link_hash)
        return len(old)


class MemoryIdentities:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, identity: Identity) -> None:
        if identity.user_id not in self._state.users:
            raise Conflict("an identity names a user that is not stored")
        self._state.identities.add((identity.issuer, identity.subject), identity)

    async def get(self, issuer: str, subject: str) -> Identity | None:
        return self._state.identities.get((issuer, subject))


class MemoryAuditLog:
    def __init__(self, state: State) -> None:
        self._state = state

    async def note(
        self, at: datetime, actor: str, act: str, subject: str, detail: str = ""
    ) -> Entry:
        entry = follow(await self.head(), at, actor, act, subject, detail)
        self._state.audit.add(entry.number, entry)
        return entry

    async def head(self) -> Head:
        last = max(self._state.audit, key=lambda e: e.number, default=None)
        return Head(last.number, last.hash) if last else Head()

    async def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        found = [e for e in self._state.audit if before is None or e.number < before]
        return sorted(found, key=lambda e: e.number, reverse=True)[:limit]

    async def last(self, act: str) -> datetime | None:
        return next((e.at for e in await self.newest(len(self._state.audit)) if e.act == act), None)

    async def after(self, number: int, limit: int) -> list[Entry]:
        found = [e for e in self._state.audit if e.number > number]
        return sorted(found, key=lambda e: e.number)[:limit]


def _holds(key: ApiKey, now: datetime) -> bool:
    """Whether it is a session that signs somebody in."""
    if key.kind is not KeyKind.SESSION or key.revoked_at is not None:
        return False
    return key.expires_at is None or key.expires_at > now
