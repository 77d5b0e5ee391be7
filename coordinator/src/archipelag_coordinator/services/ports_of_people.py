"""What the verbs need for people: who they are, how they sign in, and the log of what administrators did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import ApiKeyId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.audit import Entry, Head
from archipelag_coordinator.domain.identity import Claims, Identity
from archipelag_coordinator.domain.journey import Journey
from archipelag_coordinator.domain.sign_in import SignIn
from archipelag_coordinator.domain.user import ApiKey, KeyKind, User


class Mail(Protocol):
    async def send(self, to: str, subject: str, text: str, html: str) -> None:
        """Takes a message, to be sent soon: returns at once, whatever the mail server does."""
        ...


@dataclass(frozen=True)
class Letter:
    """A message in the local mailbox."""

    at: datetime
    to: str
    subject: str
    text: str
    html: str


class Mailbox(Protocol):
    """Where an embedded network keeps its mail instead of sending it: whoever reads it can sign in as anybody."""

    async def newest(self, limit: int) -> list[Letter]: ...


class IdentityProvider(Protocol):
    """Somebody else who knows people, and says who they are."""

    @property
    def name(self) -> str:
        """For a button."""
        ...

    async def address(self, journey: Journey, callback: str) -> str:
        """Where the browser goes to show who it is. Raises ConnectionError where the provider cannot be reached."""
        ...

    async def claims(self, journey: Journey, code: str, callback: str) -> Claims:
        """Who came back with this code. Raises IdentityRefused; ConnectionError where it cannot be reached."""
        ...


class Users(Protocol):
    async def add(self, user: User) -> None: ...
    async def get(self, user: UserId) -> User | None: ...
    async def by_email(self, email: str) -> User | None: ...
    async def wait_turn(self) -> None:
        """Nobody else who waits for this adds users or changes roles before this transaction ends."""
        ...

    async def count(self) -> int: ...
    async def admins(self) -> int:
        """How many administrators are not suspended."""
        ...

    async def save(self, user: User) -> None:
        """Role and suspension. Raises NotFound."""
        ...

    async def find(self, *, limit: int, offset: int, search: str = "") -> tuple[list[User], int]:
        """Newest first, and how many there are in all; those with `search` in their address or id."""
        ...


class Keys(Protocol):
    async def add(self, key: ApiKey) -> None:
        """Raises AlreadyMade where one stands under the same user and idempotency key, revoked or not."""
        ...

    async def get(self, user: UserId, key: ApiKeyId) -> ApiKey | None: ...
    async def of_user(self, user: UserId) -> list[ApiKey]:
        """Without sessions, newest first."""
        ...

    async def sessions_of(self, user: UserId, now: datetime, limit: int) -> list[ApiKey]:
        """Those that hold, newest first."""
        ...

    async def revoke(
        self, user: UserId, key: ApiKeyId, now: datetime, kind: KeyKind = KeyKind.KEY
    ) -> ApiKey | None:
        """None when this user has no such key of this kind. Revoking twice keeps the first time."""
        ...

    async def revoke_sessions(self, user: UserId, now: datetime) -> int:
        """Every session of this user; returns how many still held."""
        ...

    async def lock(self, user: UserId, key: ApiKeyId) -> ApiKey | None:
        """As `get`, but no session, and nobody else changes it before this transaction ends."""
        ...

    async def save(self, key: ApiKey) -> None:
        """Its name, budget, rate and expiry."""
        ...

    async def reserve(self, key: ApiKeyId, amount: Ucredits) -> None:
        """Adds to what the key has used. Raises BudgetExceeded when that would go over its budget."""
        ...

    async def release(self, key: ApiKeyId, amount: Ucredits) -> None:
        """Takes back what was reserved and not charged."""
        ...


class SignIns(Protocol):
    """Links that were mailed. Part of a transaction."""

    async def add(self, sign_in: SignIn) -> None: ...
    async def get(self, link_hash: bytes) -> SignIn | None: ...
    async def take(self, link_hash: bytes, now: datetime) -> SignIn:
        """Uses up a link. Raises LinkNotValid: unknown, used or expired."""
        ...

    async def prune(self, before: datetime) -> int:
        """Forgets links that expired before; returns how many."""
        ...


class Identities(Protocol):
    """Part of a transaction."""

    async def add(self, identity: Identity) -> None: ...
    async def get(self, issuer: str, subject: str) -> Identity | None: ...


class AuditLog(Protocol):
    """Entries that nobody changes. Part of a transaction: what was done and its note stand or fall together."""

    async def note(
        self, at: datetime, actor: str, act: str, subject: str, detail: str = ""
    ) -> Entry:
        """Appends; one transaction at a time, until it ends."""
        ...

    async def head(self) -> Head:
        """Where the log says that it ends."""
        ...

    async def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """Newest first; those with a number below `before`."""
        ...

    async def last(self, act: str) -> datetime | None:
        """When it was noted last; None: never."""
        ...

    async def after(self, number: int, limit: int) -> Sequence[Entry]:
        """In order, those with a higher number."""
        ...
