"""What the verbs need from the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.manifest import Manifest

from archipelag_island.domain.attempt import Assignment, AttemptKey, Chunk, Report
from archipelag_island.domain.beat import Beat, BeatReply
from archipelag_island.domain.capability import Capabilities
from archipelag_island.domain.offer import Entry
from archipelag_island.domain.owner import Readings
from archipelag_island.runtime import FilePart, InputFile


@dataclass(frozen=True)
class Standing:
    """What enrolment gave: who this Island is, how it reaches the broker, and whom it obeys."""

    island_id: IslandId
    broker_urls: tuple[str, ...]
    broker_jwt: str
    broker_jwt_expires_at: datetime
    assignment_keys: tuple[bytes, ...]
    publisher_keys: tuple[bytes, ...]
    approved: bool
    catalogue_keys: tuple[bytes, ...] = ()
    """Whose catalogues this Island believes; none where the Coordinator is too old to have such."""


class Enrolment(Protocol):
    async def enrol(self, pairing_code: str, name: str, capabilities: Capabilities) -> Standing:
        """Raises EnrolmentRefused or CoordinatorUnreachable."""
        ...

    async def renew(self, island: IslandId) -> Standing:
        """Raises EnrolmentRefused or CoordinatorUnreachable."""
        ...


class Link(Protocol):
    """The line to the Coordinators."""

    async def heartbeat(self, beat: Beat) -> BeatReply:
        """Raises BrokerUnreachable, NoAnswer, or a ContractError for an answer that nobody may trust."""
        ...

    async def send(self, relay: RelayId, job: JobId, epoch: Epoch, chunk: Chunk) -> None:
        """May be lost. Raises BrokerUnreachable when not even a buffer would take it."""
        ...

    def seal(self, report: Report) -> bytes:
        """The signed bytes of a report."""
        ...

    async def deliver(self, sealed: bytes) -> None:
        """Returns once the stream has it. Raises BrokerUnreachable or NoAnswer."""
        ...

    def rtt_us(self) -> int:
        """The newest measured round trip to the broker; 0: none yet."""
        ...


@dataclass(frozen=True)
class Remembered:
    """An attempt in the journal. `sealed`: its report; None while it runs."""

    key: AttemptKey
    first_position: int
    next_position: int
    sealed: bytes | None
    delivered: bool


class Journal(Protocol):
    """What was running, to survive a restart."""

    def trouble(self) -> str:
        """Why no further attempt can be remembered now; empty when all is well."""
        ...

    def epoch_seen(self, job: JobId) -> int:
        """The highest epoch ever accepted here, as far back as a replay could reach; 0: none."""
        ...

    def all(self) -> Sequence[Remembered]: ...
    def get(self, key: AttemptKey) -> Remembered | None: ...
    def accepted(self, key: AttemptKey, first_position: int, unfinished: bytes) -> None:
        """`unfinished` is the sealed report to send should this process die. Raises JournalFull."""
        ...

    async def ended(self, key: AttemptKey, next_position: int, sealed: bytes) -> None:
        """On disk when it returns; without room there it is kept in memory."""
        ...

    def delivered(self, key: AttemptKey, *, yes: bool = True) -> None: ...
    def forget(self, key: AttemptKey) -> None:
        """Idempotent."""
        ...


class KeptWishes(Protocol):
    """The owner's newest wishes on this disk, as they were signed."""

    def load(self) -> bytes:
        """Empty where there are none, or none that can be read."""
        ...

    def save(self, sealed: bytes) -> None:
        """Without room there they hold until a restart."""
        ...


class Shelf(Protocol):
    """The catalogue on this disk."""

    def document(self) -> bytes:
        """The signed catalogue of the last time; empty when there is none."""
        ...

    def keep(self, document: bytes, version: int) -> None:
        """Keeps a document that was accepted, and its version as the highest ever, which outlives the document."""
        ...

    def highest(self) -> int:
        """The highest version that was ever accepted here; 0: none. Raises BadSettings when that cannot be known."""
        ...

    def load(self) -> tuple[str, tuple[Entry, ...]]:
        """Version and entries; an empty version when there is none."""
        ...

    def save(self, version: str, entries: Sequence[Entry]) -> None: ...


class Models(Protocol):
    async def fetch(self, module: str, manifest: Manifest) -> Path:
        """The verified weights on this disk. Raises ModelUnavailable."""
        ...


@dataclass(frozen=True)
class Unpacked:
    """A Cargo's image on this disk, verified: what a runtime needs of it."""

    root: Path | None = None
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"
    wasm: Path | None = None


class Images(Protocol):
    """What Cargos are pulled as. By digest only, with the publisher's signature, into a cache with a bound."""

    async def fetch(
        self, manifest: Manifest, publisher: bytes, told: Callable[[str], None]
    ) -> Unpacked:
        """`told` hears of the progress, in words. What is on this disk already costs nothing.

        Raises ImageUnavailable.
        """
        ...

    def keep(self, manifests: Sequence[Manifest]) -> None:
        """What the catalogue has now; everything else may go when room is needed."""
        ...


class Files(Protocol):
    """Input and output files of attempts, which the Coordinator keeps."""

    def inputs(self, assignment: Assignment) -> AbstractAsyncContextManager[tuple[InputFile, ...]]:
        """The files that the input refers to, verified, for as long as the run lasts. Raises FilesUnavailable."""
        ...

    async def send(self, key: AttemptKey, offset: int, part: FilePart) -> None:
        """Returns once the Coordinator has it. Raises FilesUnavailable."""
        ...


class Traces(Protocol):
    """Says what this Island does for a request that somebody follows. Never raises."""

    def span(self, name: str, /, **attributes: str | int) -> AbstractContextManager[object]:
        """What happens inside, in tasks that it starts too, is part of what is going on here."""
        ...

    def within(self, traceparent: str) -> AbstractContextManager[object]:
        """What begins inside belongs to what the Coordinator named; empty: to nothing."""
        ...

    def carried(self) -> str:
        """For a Cargo to go on from; empty: nobody follows."""
        ...


class NoTraces:
    """Nobody follows."""

    def span(self, name: str, /, **attributes: str | int) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def within(self, traceparent: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def carried(self) -> str:
        return ""


class Senses(Protocol):
    def read(self) -> Readings:
        """What this machine tells of its owner's use of it. Cheap, never raises; what it cannot tell is None."""
        ...


class Engines(Protocol):
    def installed(self) -> Mapping[str, str]:
        """Native engines on this host: name → Python package."""
        ...
