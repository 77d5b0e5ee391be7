"""The Runtime protocol: the one plug-in point for what executes a Cargo."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.manifest import Manifest


@dataclass(frozen=True)
class RuntimeInfo:
    """What a runtime isolates and, honestly, what it does not."""

    name: str
    isolation: tuple[str, ...]
    not_isolated: tuple[str, ...]


@dataclass(frozen=True)
class CargoSpec:
    """What to start: a verified Cargo with everything it needs on this disk."""

    manifest: Manifest
    digest: CargoDigest
    module: str
    """The Python package that is the engine."""
    model: Path | None
    slots: int
    threads: int
    cpus: tuple[int, ...] = ()
    """Processors that it may run on; empty: any."""


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


@dataclass(frozen=True)
class RunRequest:
    run_id: str
    input: bytes
    first_position: int = 0
    resume_tokens: tuple[int, ...] = ()
    resume_texts: tuple[str, ...] = ()
    output_items_max: int = 0
    """Positions of the whole answer: a run that begins at `first_position` may make that many fewer."""


@dataclass(frozen=True)
class RunEnd:
    finish_reason: str = ""
    error: str = ""
    """Set: the run failed; for the customer."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Some items, a progress note, or the end; often one item, so it is small."""

    first: int = 0
    texts: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    progress: tuple[int, int, str] | None = None
    end: RunEnd | None = None


@dataclass(frozen=True)
class Consumption:
    """What a started Cargo has used since its start. Never decreasing."""

    cpu_ms: int = 0
    memory_bytes: int = 0
    """Now; the one figure that may go down."""
    memory_peak_bytes: int = 0


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
        """What this runtime can do on this host. Cheap after the first call."""
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
