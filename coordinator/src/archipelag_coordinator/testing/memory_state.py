"""Tables in memory whose changes can be taken back: what MemoryStore keeps its rows in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from archipelag_contracts.ids import (
    ApiKeyId,
    BatchId,
    Epoch,
    FileId,
    IslandId,
    JobId,
    RelayId,
    UserId,
)

from archipelag_coordinator.domain.attempt import Attempt, AttemptKey
from archipelag_coordinator.domain.audit import Entry
from archipelag_coordinator.domain.batch import Batch, Member
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.catalogue import Document
from archipelag_coordinator.domain.conversation import Conversation, ConversationId, Message
from archipelag_coordinator.domain.file import Blob, BlobId, File, Input
from archipelag_coordinator.domain.identity import Identity
from archipelag_coordinator.domain.island import Island, PairingCode
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.karma import Note
from archipelag_coordinator.domain.ledger import (
    Account,
    AccountId,
    Pay,
    PayKind,
    Reservation,
    Transfer,
)
from archipelag_coordinator.domain.link import Link
from archipelag_coordinator.domain.sign_in import SignIn
from archipelag_coordinator.domain.usage import UsageRow
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import Conflict

K = TypeVar("K")
V = TypeVar("V")
Undo = list[Callable[[], None]]


class Table(Generic[K, V]):
    """Rows by key. Every change notes in `undo` how to take it back."""

    def __init__(self, undo: Undo) -> None:
        self._rows: dict[K, V] = {}
        self._undo = undo

    def get(self, key: K) -> V | None:
        return self._rows.get(key)

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[V]:
        return iter(list(self._rows.values()))

    def items(self) -> list[tuple[K, V]]:
        return list(self._rows.items())

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: K, row: V) -> None:
        """Raises Conflict when the key is taken, as a primary key does."""
        if key in self._rows:
            raise Conflict(f"{key!r} stands already")
        self.put(key, row)

    def put(self, key: K, row: V) -> None:
        if key in self._rows:
            before = self._rows[key]
            self._undo.append(lambda: self._rows.__setitem__(key, before))
        else:
            self._undo.append(lambda: self._rows.__delitem__(key))
        self._rows[key] = row

    def remove(self, key: K) -> None:
        """Nothing where there is no such row."""
        if key in self._rows:
            before = self._rows.pop(key)
            self._undo.append(lambda: self._rows.__setitem__(key, before))


@dataclass
class State:
    """All tables, and how to take back what the running transaction did."""

    undo: Undo = field(default_factory=list)

    def __post_init__(self) -> None:
        undo = self.undo
        self.users: Table[UserId, User] = Table(undo)
        self.keys: Table[ApiKeyId, ApiKey] = Table(undo)
        self.cargos: Table[int, Cargo] = Table(undo)
        self.slugs: Table[str, UserId | None] = Table(undo)
        self.sboms: Table[int, bytes] = Table(undo)
        self.documents: Table[int, Document] = Table(undo)
        self.islands: Table[IslandId, Island] = Table(undo)
        self.cut_off_at: Table[IslandId, datetime] = Table(undo)
        self.codes: Table[str, PairingCode] = Table(undo)
        self.jobs: Table[JobId, Job] = Table(undo)
        self.items: Table[tuple[JobId, int], Items] = Table(undo)
        self.attempts: Table[AttemptKey, Attempt] = Table(undo)
        self.accounts: Table[AccountId, Account] = Table(undo)
        self.transfers: Table[str, Transfer] = Table(undo)
        self.reservations: Table[JobId, Reservation] = Table(undo)
        self.usage: Table[AttemptKey, UsageRow] = Table(undo)
        self.pays: Table[tuple[JobId, Epoch, PayKind], Pay] = Table(undo)
        self.karma_notes: Table[tuple[IslandId, JobId, Epoch], Note] = Table(undo)
        self.coordinators: Table[RelayId, datetime] = Table(undo)
        self.regions: Table[RelayId, str] = Table(undo)
        self.links_taken_back: Table[Link, datetime] = Table(undo)
        self.blobs: Table[BlobId, Blob] = Table(undo)
        self.files: Table[FileId, File] = Table(undo)
        self.job_files: Table[tuple[JobId, FileId], Input] = Table(undo)
        self.conversations: Table[ConversationId, Conversation] = Table(undo)
        self.messages: Table[tuple[ConversationId, int], Message] = Table(undo)
        self.sign_ins: Table[bytes, SignIn] = Table(undo)
        self.identities: Table[tuple[str, str], Identity] = Table(undo)
        self.audit: Table[int, Entry] = Table(undo)
        self.batches: Table[BatchId, Batch] = Table(undo)
        self.batch_members: Table[JobId, Member] = Table(undo)
        self.rates: dict[str, int] = {}
        """Bucket → when it is empty again, in microseconds since 1970; no transaction takes that back."""

    def commit(self) -> None:
        self.undo.clear()

    def roll_back(self) -> None:
        while self.undo:
            self.undo.pop()()
