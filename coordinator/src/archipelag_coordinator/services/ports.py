"""What the verbs need from the world. Each Protocol names the questions asked; adapters answer them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import (
    ApiKeyId,
    BatchId,
    CargoDigest,
    Epoch,
    FileId,
    IslandId,
    JobId,
    Position,
    RelayId,
    UserId,
)

from archipelag_coordinator.domain.attempt import Attempt, AttemptKey
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.domain.conversation import ConversationId
from archipelag_coordinator.domain.file import BlobId, Input
from archipelag_coordinator.domain.island import Glance, Island, PairingCode
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import EVERY_JOB, Job, JobFilter
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.services.ports_of_batches import Batches
from archipelag_coordinator.services.ports_of_cargos import Cargos
from archipelag_coordinator.services.ports_of_conversations import Conversations
from archipelag_coordinator.services.ports_of_coordinators import Coordinators
from archipelag_coordinator.services.ports_of_files import Files
from archipelag_coordinator.services.ports_of_lines import LinesOfAll
from archipelag_coordinator.services.ports_of_pay import KarmaNotes, Ledger, Usages
from archipelag_coordinator.services.ports_of_people import (
    AuditLog,
    Identities,
    Keys,
    SignIns,
    Users,
)
from archipelag_coordinator.services.ports_of_sums import Sums
from archipelag_coordinator.services.ports_of_trust import Links


class Ids(Protocol):
    """Chance, as a thing that is passed in."""

    def job(self, now: datetime) -> JobId: ...
    def batch(self, now: datetime) -> BatchId: ...
    def island(self, now: datetime) -> IslandId: ...
    def user(self, now: datetime) -> UserId: ...
    def api_key(self, now: datetime) -> ApiKeyId: ...
    def conversation(self, now: datetime) -> ConversationId: ...
    def file(self) -> FileId: ...
    def blob(self, now: datetime) -> BlobId: ...
    def secret(self) -> str:
        """A new API key's secret: `ak_` and 43 characters, 256 bits from the operating system."""
        ...

    def session_secret(self) -> str:
        """The same for a browser: `as_` and 43 characters."""
        ...

    def link_secret(self) -> str:
        """The same for a link that signs in: `al_` and 43 characters."""
        ...

    def pairing_code(self) -> str: ...
    def seed(self) -> int:
        """Uniform, 0 to 2^63 - 1: for sampling that the customer left open."""
        ...

    def chance(self) -> float:
        """Uniform in [0, 1)."""
        ...


# --- PostgreSQL, the truth ---------------------------------------------------------------------------------------


class Islands(Protocol):
    async def add(self, island: Island) -> None: ...
    async def get(self, island: IslandId) -> Island | None: ...
    async def lock(self, island: IslandId) -> Island | None:
        """As `get`, and nobody else changes it before this transaction ends."""
        ...

    async def by_public_key(self, public_key: bytes) -> Island | None: ...
    async def all(self) -> list[Island]:
        """Every Island that has not ended for good."""
        ...

    async def glances(self) -> list[Glance]:
        """Of all Islands, the little that changes often; what that is about is then asked for by `several`."""
        ...

    async def several(self, islands: Sequence[IslandId]) -> list[Island]:
        """Those of them that have not ended for good."""
        ...

    async def of_owner(self, owner: UserId) -> list[Island]:
        """As `all`, of this owner: the suspended ones too."""
        ...

    async def save(self, island: Island) -> None: ...
    async def save_wishes(self, island: Island) -> None:
        """Its wishes and nothing else; `save` and `save_beats` leave them as they are. Raises NotFound."""
        ...

    async def save_beats(self, islands: Sequence[Island]) -> None:
        """Many heartbeats in one statement. Never moves an Island out of suspended, retired or banned."""
        ...

    async def cut_off(self) -> Mapping[bytes, datetime]:
        """Public key → since when, of every Island that may not connect."""
        ...

    async def add_code(self, code: PairingCode) -> None: ...
    async def take_code(self, code: str, island: IslandId, now: datetime) -> PairingCode:
        """Uses up a pairing code. Raises PairingRefused: unknown, used or expired."""
        ...


class Jobs(Protocol):
    async def add(self, job: Job) -> Job:
        """Stores a new job, or returns the one that stands under the same user and idempotency key."""
        ...

    async def get(self, job: JobId, *, outputs: bool = True) -> Job | None:
        """`outputs` False: without what it said, which may be large, and must not be saved again."""
        ...

    async def lock(self, job: JobId) -> Job | None:
        """As `get`, and nobody else changes it before this transaction ends."""
        ...

    async def of_user(
        self,
        user: UserId,
        *,
        limit: int,
        offset: int,
        only: JobFilter = EVERY_JOB,
        outputs: bool = True,
    ) -> tuple[list[Job], int]:
        """Newest first, and how many there are in all that pass the filter. `outputs` as in `get`."""
        ...

    async def by_idempotency_key(self, user: UserId, key: str) -> Job | None: ...
    async def same_request(
        self, user: UserId, key: ApiKeyId, request_hash: bytes, since: datetime
    ) -> Job | None:
        """The newest job of this key with the same request, created after `since`."""
        ...

    async def save(self, job: Job, *, was: Job) -> None:
        """Guarded by the epoch and status of `was`. Raises StaleAttempt when somebody was faster."""
        ...

    async def waiting(self, home: RelayId, limit: int) -> list[JobId]:
        """Queued jobs of this home as they have their turn (`domain/fair.py`); jobs that run count in every home."""
        ...

    async def overdue(self, home: RelayId, now: datetime, limit: int) -> list[JobId]:
        """Unfinished jobs of this home past their deadline, and queued ones that waited too long."""
        ...

    async def adopt(self, home: RelayId, alive: Sequence[RelayId], limit: int) -> list[JobId]:
        """Takes over unfinished jobs whose home is not among `alive`; returns those taken."""
        ...

    async def adopt_of(
        self,
        home: RelayId,
        was: Sequence[RelayId],
        limit: int,
        among: Sequence[JobId] | None = None,
    ) -> list[JobId]:
        """Takes over unfinished jobs whose home is one of `was`, of all or `among` some, but for those that somebody
        has locked; returns those taken."""
        ...

    async def several(self, jobs: Sequence[JobId]) -> list[Job]:
        """These jobs, by id, in one statement; those that are unknown are left out."""
        ...

    async def take_home(self, job: JobId, home: RelayId, *, was: RelayId) -> bool:
        """Moves one unfinished job to another home. False when it has ended or moved already."""
        ...

    async def unfinished_of(self, home: RelayId, limit: int) -> list[JobId]:
        """Unfinished jobs of this home, oldest first."""
        ...

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        """Where these jobs stand, in one statement; those that are unknown are left out."""
        ...

    async def mark_delivered(self, marks: Iterable[Mark]) -> None:
        """How far readers of running jobs have got, many in one statement. Nothing of it ever goes down."""
        ...

    async def count_completed(self) -> int: ...


@dataclass(frozen=True)
class Mark:
    """How far a job's readers have got."""

    job_id: JobId
    delivered: Position
    prompt_tokens: int
    read_at: datetime | None = None
    """Somebody read it then, on a Coordinator that is not its home; None where that says nothing of it."""


@dataclass(frozen=True)
class Standing:
    """What another process must know of a job to keep up with it."""

    job_id: JobId
    finished: bool
    epoch: Epoch
    home: RelayId


@dataclass(frozen=True)
class Said:
    """Items of the attempt under this epoch."""

    job_id: JobId
    epoch: Epoch
    items: Items


class JobItems(Protocol):
    """What unfinished answers have said so far, so that any Coordinator can go on with them."""

    async def keep(self, home: RelayId, said: Sequence[Said]) -> None:
        """Appends, in one statement. What is no longer this home's, or of an attempt that is over, is left out."""
        ...

    async def of_job(self, job: JobId) -> Items:
        """From position 0, without a gap."""
        ...

    async def of_jobs(self, jobs: Sequence[JobId]) -> dict[JobId, Items]:
        """The same of several, in one statement; of each that was asked for."""
        ...

    async def forget(self, job: JobId, *, since: int) -> None:
        """What was said from this position on does not count."""
        ...

    async def prune(self, limit: int) -> int:
        """Drops items of jobs that have ended; returns how many rows went."""
        ...


class Attempts(Protocol):
    async def add(self, attempt: Attempt) -> None: ...
    async def get(self, job: JobId, epoch: Epoch) -> Attempt | None: ...
    async def of_job(self, job: JobId) -> list[Attempt]:
        """By epoch."""
        ...

    async def current(self, jobs: Sequence[JobId]) -> list[Attempt]:
        """The newest attempts of these jobs, in one statement; none of one that has never begun."""
        ...

    async def save(self, attempt: Attempt, *, was: Attempt) -> None:
        """Guarded by the status of `was`. Raises StaleAttempt when somebody was faster; a heartbeat that meanwhile
        called an assigned attempt running is nobody."""
        ...

    async def extend(
        self, island: IslandId, held: Sequence[AttemptKey], now: datetime, lease_until: datetime
    ) -> set[AttemptKey]:
        """Extends the leases of those held attempts that stand, and returns them. One statement."""
        ...

    async def finished(self, island: IslandId, keys: Sequence[AttemptKey]) -> set[AttemptKey]:
        """Those of `keys` that have ended, or that this Island never had."""
        ...

    async def expired(self, home: RelayId, now: datetime, limit: int) -> list[AttemptKey]:
        """Unfinished attempts of this home's jobs whose lease ran out, oldest first."""
        ...

    async def break_leases(self, island: IslandId, now: datetime) -> None:
        """The leases of all that this Island holds run out now."""
        ...

    async def unfinished_of(self, island: IslandId) -> list[AttemptKey]: ...


OnDisk = Callable[[], Awaitable[None]]
"""Returns once a transaction that was committed is on disk. Raises what the store raises when that is not known: it
may stand or not."""


class Tx(Protocol):
    """One transaction: everything or nothing."""

    @property
    def users(self) -> Users: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def cargos(self) -> Cargos: ...
    @property
    def islands(self) -> Islands: ...
    @property
    def jobs(self) -> Jobs: ...
    @property
    def items(self) -> JobItems: ...
    @property
    def attempts(self) -> Attempts: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def usage(self) -> Usages: ...
    @property
    def karma(self) -> KarmaNotes: ...
    @property
    def coordinators(self) -> Coordinators: ...
    @property
    def files(self) -> Files: ...
    @property
    def conversations(self) -> Conversations: ...
    @property
    def sign_ins(self) -> SignIns: ...
    @property
    def identities(self) -> Identities: ...
    @property
    def audit(self) -> AuditLog: ...
    @property
    def batches(self) -> Batches: ...
    @property
    def sums(self) -> Sums: ...
    @property
    def lines(self) -> LinesOfAll: ...
    @property
    def links(self) -> Links: ...
    def ahead_of_disk(self) -> OnDisk:
        """Leaving waits for the commit and not for the disk. What this gives is to be called afterwards, and awaited
        before anybody outside is told of what was written; it raises as leaving would have."""
        ...

    def rely(self) -> None:
        """What was read here is about to be promised to somebody outside: it must not be forgotten by a crash."""
        ...


class Store(Protocol):
    def begin(self) -> AbstractAsyncContextManager[Tx]:
        """Commits when left without an error, rolls back otherwise. What was written is on disk once it is left.

        Others may read it a moment earlier. Who wrote or locked anything after reading waits for what they read as
        well; who only read says `rely` where it matters.
        """
        ...


@dataclass(frozen=True)
class Admission:
    """A caller with a key, and whether this request is within its rate."""

    key: ApiKey
    user: User
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float | None
    """None: go ahead."""


class Door(Protocol):
    """Who is it, and are they asking too often: one round trip, counted in a store that all Coordinators share."""

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        """None: no such key. Counts the request and notes when the key was last used. `passed`: requests of this key
        that came through before and are not counted yet."""
        ...

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        """Counts something without a key (sign-in, pairing). None: go ahead; else seconds to wait."""
        ...


# --- NATS, the carrier -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Assignment:
    """What an Island is told. Durations in milliseconds."""

    job_id: JobId
    epoch: Epoch
    island_id: IslandId
    relay: RelayId
    cargo_slug: str
    cargo_digest: CargoDigest
    input: bytes
    lease_ms: int
    deadline_ms: int
    first_position: int
    resume_tokens: tuple[int, ...]
    resume_texts: tuple[str, ...]
    output_items_max: int
    output_bytes_max: int
    files: tuple[Input, ...] = ()
    """What the input names, for the Island to ask for."""
    traceparent: str = ""
    """W3C's: what the Island's spans are part of; empty: nobody follows."""
    cache_salt: bytes = b""
    """Under which what is computed of the prompt may be used again; empty: not at all."""
    prefixes: tuple[int, ...] = ()
    """Names of the prompt's beginnings that may be held, the shortest first."""


@dataclass(frozen=True)
class Accepted:
    room: Room | None = None
    """What is left; None where the Island does not say."""


@dataclass(frozen=True)
class Refused:
    """The Island said no, and why: a code of `archipelag.v1.Refusal`, then words."""

    reason: str
    room: Room | None = None
    """What is free there; None where the Island does not say."""


@dataclass(frozen=True)
class Unreachable:
    """No answer in time: it may or may not have the assignment, so the epoch is given up."""

    reason: str


class IslandBus(Protocol):
    @property
    def connected(self) -> bool:
        """Whether the message fabric can be reached, as far as is known at this moment."""
        ...

    async def assign(
        self, assignment: Assignment, issued_at: datetime, timeout_s: float
    ) -> Accepted | Refused | Unreachable: ...
    async def cancel(
        self, island: IslandId, job: JobId, epoch: Epoch, reason: str, issued_at: datetime
    ) -> None: ...
    async def ended(self, relay: RelayId, job: JobId) -> None:
        """Tells the process that relays this job that it was settled."""
        ...

    async def hand_report(self, relay: RelayId, island: IslandId, report: bytes) -> bool | None:
        """Gives a report to the process that relays its job. True or False as that said: dealt with, or never
        acceptable. None: that process is gone. Raises OSError when it did not say in time."""
        ...

    async def hand_cancel(self, relay: RelayId, job: JobId, reason: str) -> bool | None:
        """Has a job cancelled by the process that relays it: only there is it known what was delivered. True: done.
        False: it could not. None: that process is gone. Raises OSError when it did not say in time."""
        ...

    async def is_there(self, relay: RelayId) -> bool | None:
        """Whether this Coordinator process is connected to the message fabric. None: it could not be found out."""
        ...

    async def left(self, relay: RelayId, place: int | None) -> None:
        """Tells the other Coordinators that this one stops and that its jobs are theirs to take. What was said before
        `place` in the stream of all output is stored; None: not known."""
        ...

    async def keys_changed(self) -> None: ...
    async def catalogue_changed(self, version: int) -> None:
        """Tells all Islands that a newer document stands, so that they ask for it at once."""
        ...
