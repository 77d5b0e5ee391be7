"""What the verbs need for people: mail, links that sign in, identities, and the log of what administrators did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import UserId

from archipelag_coordinator.domain.audit import Entry, Head
from archipelag_coordinator.domain.identity import Claims, Identity
from archipelag_coordinator.domain.journey import Journey
from archipelag_coordinator.domain.sign_in import SignIn


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
        self, at: datetime, actor: UserId, act: str, subject: str, detail: str = ""
    ) -> Entry:
        """Appends; one transaction at a time, until it ends."""
        ...

    async def head(self) -> Head:
        """Where the log says that it ends."""
        ...

    async def newest(self, limit: int, before: int | None = None) -> list[Entry]:
        """Newest first; those with a number below `before`."""
        ...

    async def after(self, number: int, limit: int) -> Sequence[Entry]:
        """In order, those with a higher number."""
        ...
