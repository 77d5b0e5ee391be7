"""The Runtime protocol: the one plug-in point for what executes a Cargo."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest
from archipelag_contracts.tiers import TIERS, Tier

FILE_PART_BYTES_MAX: Final = 256 << 10
PREVIEW_BYTES_MAX: Final = 64 << 10
KEPT_RUNS_MAX: Final = 16
CACHE_SALT_BYTES_MAX: Final = 32


@dataclass(frozen=True)
class RuntimeInfo:
    """What a runtime isolates and, honestly, what it does not."""

    name: str
    """oci, wasm or native."""
    isolation: tuple[str, ...]
    not_isolated: tuple[str, ...]
    executor: str = ""
    """What does it here, with its version."""
    trust_min: int = 3
    """The lowest trust level of a Cargo that may run in it: 0 where the sandbox holds, 3 where it does not."""


@dataclass(frozen=True)
class CargoSpec:
    """What to start: a verified Cargo with everything it needs on this disk.

    Which of `module`, `root` and `wasm` is set depends on the runtime.
    """

    manifest: Manifest
    digest: CargoDigest
    module: str = ""
    """Native: the Python package that is the engine."""
    model: Path | None = None
    slots: int = 1
    threads: int = 1
    cpus: tuple[int, ...] = ()
    """Processors that it may run on; empty: any."""
    runtime: str = "native"
    """Which runtime of the Island starts it."""
    tier: Tier = TIERS["standard"]
    """Hard limits, already cut to what the manifest asks for."""
    root: Path | None = None
    """OCI: the unpacked root, shared by all starts and never written to."""
    command: tuple[str, ...] = ()
    """OCI: entry point and arguments from the image; what every Cargo is told is appended."""
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"
    wasm: Path | None = None
    """WASM: the module."""


@dataclass(frozen=True)
class Handle:
    """One started Cargo. The runtime that made it knows the rest."""

    id: str


class CargoState(StrEnum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Description:
    """What a started Cargo says of itself."""

    state: CargoState
    error: str = ""
    progress: float = 0.0
    slots: int = 1
    resumable: bool = False
    determinism_class: str = ""
    items_per_s: float = 0.0
    first_item_ms: float = 0.0
    prompt_tokens_per_s: float = 0.0
    context_tokens: int = 0
    kept_runs: tuple[str, ...] = ()
    """Ended runs from whose prompt it could begin, the newest first; KEPT_RUNS_MAX at most."""


@dataclass(frozen=True)
class InputFile:
    """A verified file on this disk that a run may read. `name` is how its input calls it."""

    name: str
    path: Path


@dataclass(frozen=True)
class RunRequest:
    run_id: str
    input: bytes
    first_position: int = 0
    resume_tokens: tuple[int, ...] = ()
    resume_texts: tuple[str, ...] = ()
    output_items_max: int = 0
    """Positions of the whole answer: a run that begins at `first_position` may make that many fewer."""
    files: tuple[InputFile, ...] = ()
    traceparent: str = ""
    """W3C's: what the Cargo's spans would be part of; empty: nobody follows."""
    cache_salt: bytes = b""
    """What is computed for it is used again for runs of the same salt only: CACHE_SALT_BYTES_MAX, or empty for none."""


@dataclass(frozen=True)
class RunEnd:
    finish_reason: str = ""
    error: str = ""
    """Set: the run failed; for the customer."""


class Progress(NamedTuple):
    """How far a run is. A later one takes its place; it may be lost."""

    step: int
    total: int
    note: str = ""
    preview: bytes = b""
    """A small picture, PREVIEW_BYTES_MAX at most."""
    preview_type: str = ""


@dataclass(frozen=True, slots=True)
class FilePart:
    """One part of an output file, in order; FILE_PART_BYTES_MAX at most."""

    name: str
    media_type: str
    data: bytes
    last: bool = False
    sha256: bytes = b""
    """Of the whole; with the last part."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Some items, a progress note, or the end; often one item, so it is small."""

    first: int = 0
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    progress: Progress | None = None
    end: RunEnd | None = None
    file: FilePart | None = None
    cached_tokens: int = 0
    """Of `prompt_tokens`, those that did not have to be read again."""


@dataclass(frozen=True)
class Consumption:
    """What a started Cargo has used since its start, by the kernel's counters. Never decreasing."""

    cpu_ms: int = 0
    memory_bytes: int = 0
    """Now; the one figure that may go down."""
    memory_peak_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    gpu_ms: int = 0
    oom_kills: int = 0


@dataclass(frozen=True)
class Exit:
    """How a Cargo's process ended."""

    status: int
    """Exit status; negative: the signal that ended it."""
    stopped: bool = False
    """We ended it."""
    last_words: str = field(default="")
    """The end of its standard error, bounded."""

    def __str__(self) -> str:
        how = f"by signal {-self.status}" if self.status < 0 else f"with status {self.status}"
        return f"its process ended {how}" + (f": {self.last_words}" if self.last_words else "")


class Runtime(Protocol):
    """Starts Cargos and runs jobs in them. `testing.check_runtime` tries every promise made here."""

    async def probe(self) -> RuntimeInfo:
        """What this runtime can do on this host, found out by trying. Cheap after the first call.

        Raises NotUsable with the reason when it cannot run here at all.
        """
        ...

    async def recover(self) -> int:
        """Ends what an earlier, killed Island left behind and returns how many. Called once, before any start."""
        ...

    async def start(self, spec: CargoSpec) -> Handle:
        """Returns once the Cargo answers; it may still be loading. Raises StartFailed, and then nothing is left."""
        ...

    async def describe(self, handle: Handle) -> Description:
        """Raises CargoDied, or NotReady when it does not answer in time."""
        ...

    def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """Events until one with `end`. Closing the iterator cancels the run in the Cargo.

        Raises BadInput, NoSlot, NotReady, CargoFailed, CargoDied.
        """
        ...

    async def wait(self, handle: Handle) -> Exit:
        """Waits for the Cargo's end; any number of tasks may, also after the end."""
        ...

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Asks, waits at most `grace_s`, then kills. Stopping twice, or what has ended, does nothing."""
        ...

    def usage(self, handle: Handle) -> Consumption:
        """Never raises: what has ended answers with its last figures."""
        ...
