"""What passes between a Coordinator and this Island about one attempt: assignment, output, report."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from archipelag_contracts.ids import CargoDigest, Epoch, FileId, IslandId, JobId, RelayId

from archipelag_island.runtime import Progress

ERROR_CHARS_MAX: Final = 500
# A report travels in one broker message of at most 1 MiB; its texts stay well below.
REPORT_TEXT_BYTES_MAX: Final = 900_000


class Cause(StrEnum):
    """Why something ended. The same words as `archipelag.v1.Cause`."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    CARGO_FAILED = "cargo_failed"
    CARGO_DIED = "cargo_died"
    CARGO_STALLED = "cargo_stalled"
    LIMIT_EXCEEDED = "limit_exceeded"
    BAD_INPUT = "bad_input"
    LEASE_LOST = "lease_lost"
    ISLAND_STOPPED = "island_stopped"
    REFUSED = "refused"
    DEADLINE = "deadline"
    BAD_OUTPUT = "bad_output"


class AttemptKey(NamedTuple):
    job_id: JobId
    epoch: Epoch

    def __str__(self) -> str:
        return f"{self.job_id}.{self.epoch}"


@dataclass(frozen=True)
class FileRef:
    """A file of a job, by its content."""

    id: FileId
    sha256: bytes
    size_bytes: int
    media_type: str = ""


@dataclass(frozen=True)
class Assignment:
    key: AttemptKey
    island_id: IslandId
    relay: RelayId
    cargo_slug: str
    cargo_digest: CargoDigest
    input: bytes
    issued_at_ms: int
    deadline_ms: int
    """From receipt, by our own clock."""
    first_position: int
    resume_tokens: tuple[int, ...]
    resume_texts: tuple[str, ...]
    output_items_max: int
    """Positions of the whole answer, not of this attempt."""
    output_bytes_max: int
    files: tuple[FileRef, ...] = ()
    """That the input refers to."""
    cache_salt: bytes = b""
    """What a Cargo computes for it is used again under the same salt only; empty: for nothing."""
    prefixes: tuple[int, ...] = ()
    """Names of the beginnings of its prompt, the shortest first."""


@dataclass(frozen=True)
class Cancel:
    key: AttemptKey
    island_id: IslandId
    reason: str


class RefusalCode(StrEnum):
    """The same words as `archipelag.v1.Refusal.Code`."""

    NO_SLOT = "no_slot"
    UNKNOWN_CARGO = "unknown_cargo"
    CARGO_NOT_READY = "cargo_not_ready"
    DIGEST_MISMATCH = "digest_mismatch"
    BAD_SIGNATURE = "bad_signature"
    DRAINING = "draining"
    OWNER_BUSY = "owner_busy"
    STALE = "stale"
    NO_MEMORY = "no_memory"
    NOT_RESUMABLE = "not_resumable"


@dataclass(frozen=True)
class Refusal:
    code: RefusalCode
    reason: str


@dataclass(frozen=True)
class Room:
    """Slots that are free at this moment: whatever the Cargo, and of them those that one Cargo could have."""

    slots_free: int
    cargo_slots_free: int


@dataclass(frozen=True)
class Usage:
    """Metered quantities of one attempt."""

    prompt_tokens: int = 0
    output_items: int = 0
    cpu_ms: int = 0
    memory_peak_bytes: int = 0
    wall_ms: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    gpu_ms: int = 0


@dataclass(frozen=True)
class Ending:
    cause: Cause
    finish_reason: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", self.error[:ERROR_CHARS_MAX])


@dataclass(frozen=True, slots=True)
class Chunk:
    """One piece of streamed output. Without anything in it, it is the keep-alive."""

    first: int = 0
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    progress: Progress | None = None
    end: Ending | None = None
    next: int = 0
    """With `end`: the position after the last item."""
    cached_tokens: int = 0
    """Of `prompt_tokens`, those that did not have to be read again."""
    usage: Usage = Usage()


KEEP_ALIVE: Final = Chunk()


@dataclass(frozen=True)
class Report:
    """What became of an attempt. The Island signs it."""

    key: AttemptKey
    island_id: IslandId
    cargo_digest: CargoDigest
    ending: Ending
    first_position: int
    next_position: int
    usage: Usage
    input_sha256: bytes
    output_chain: bytes
    started_at_ms: int
    ended_at_ms: int
    texts: tuple[str, ...] = field(default=(), repr=False)
    tokens: tuple[int, ...] = field(default=(), repr=False)
