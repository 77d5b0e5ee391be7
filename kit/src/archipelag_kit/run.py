"""What the author's function is given: one run, with its input, its files and the ways to speak."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from archipelag_contracts.manifest import Manifest

from archipelag_kit.errors import BadOutput
from archipelag_kit.events import (
    FILE_PART_BYTES,
    NOTE_CHARACTERS_MAX,
    PREVIEW_BYTES_MAX,
    FilePart,
    Progress,
)
from archipelag_kit.outbox import Outbox

P = ParamSpec("P")
T = TypeVar("T")

_COUNT_MAX: Final = (1 << 32) - 1
_NAME_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True)
class Ask:
    """What a run is asked for, before anything of the author's has seen it."""

    input: Mapping[str, Any]
    run_id: str = "run"
    files: Mapping[str, Path] = field(default_factory=dict)
    model: Path | None = None
    threads: int = 1
    state: Any = None
    first_position: int = 0
    resume_texts: tuple[str, ...] = ()
    items_max: int = 4096
    """Positions of the whole answer, those before `first_position` included."""
    bytes_max: int = 524_288
    resumable: bool = False
    cache_salt: bytes = b""


class Run:
    """One run. `input`, `files`, `model`, `threads` and `state` are to be read; the rest speaks to the Island."""

    def __init__(self, ask: Ask, outbox: Outbox, executor: Executor | None = None) -> None:
        self.id: Final = ask.run_id
        self.input: Final = dict(ask.input)
        self.files: Final[Mapping[str, Path]] = ask.files
        """Input files, read-only, by the reference that stands in the input."""
        self.model: Final = ask.model
        self.threads: Final = ask.threads
        self.state: Final = ask.state
        """What the function marked `@cargo.load` returned."""
        self.items_max: Final = ask.items_max
        self.cache_salt: Final = ask.cache_salt
        """What is computed of this input may be used again for runs of the very same salt, and for no others.

        Empty: for none. Whoever uses it for another tells one customer, by the time it takes, what another asked.
        """
        self._first_position = ask.first_position
        self._resume_texts = ask.resume_texts
        self._outbox = outbox
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._cancelled = threading.Event()
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self.resumes_itself = False
        """Whether the function looked at where to begin; otherwise the kit drops what was delivered already."""
        self.cut_short = False
        """Set it when the answer ended at a limit of its own: the customer is told `length`, not `stop`."""

    @property
    def first_position(self) -> int:
        """Where to begin: the items before it were delivered by an Island that is gone.

        A function that reads this yields the item at this position first. One that does not starts from the
        beginning, and the kit leaves out what was delivered; for that it must be deterministic.
        """
        self.resumes_itself = True
        return self._first_position

    @property
    def resume_texts(self) -> tuple[str, ...]:
        """The items before `first_position`, as they were delivered."""
        return self._resume_texts

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the answer any more. May be asked from any thread, and should be in long loops."""
        return self._cancelled.is_set()

    @property
    def prompt_tokens(self) -> int:
        """Units of work read, which have a price of their own."""
        return self._prompt_tokens

    @prompt_tokens.setter
    def prompt_tokens(self, count: int) -> None:
        self._prompt_tokens = _count("prompt_tokens", count)

    @property
    def cached_tokens(self) -> int:
        """Of `prompt_tokens`, those that did not have to be read again. It changes no price."""
        return self._cached_tokens

    @cached_tokens.setter
    def cached_tokens(self, count: int) -> None:
        self._cached_tokens = _count("cached_tokens", count)

    async def progress(
        self,
        step: int,
        total: int,
        note: str = "",
        preview: bytes | None = None,
        preview_type: str = "image/png",
    ) -> None:
        """Says how far it is, at most once a moment: a newer note replaces one that nobody has read.

        Say something within the manifest's `limits.progress_s`, or the run counts as frozen.
        """
        self._outbox.note(_progress(step, total, note, preview, preview_type))
        await asyncio.sleep(0)

    def tell(
        self,
        step: int,
        total: int,
        note: str = "",
        preview: bytes | None = None,
        preview_type: str = "image/png",
    ) -> None:
        """Like `progress`, for a callback in another thread: it never waits."""
        told = _progress(step, total, note, preview, preview_type)
        self._loop.call_soon_threadsafe(self._outbox.note, told)

    async def send_file(
        self,
        content: Path | str | bytes,
        *,
        name: str = "",
        media_type: str = "application/octet-stream",
    ) -> dict[str, Any]:
        """Streams a file to the customer; what it returns refers to it and belongs into the result."""
        path = None if isinstance(content, bytes) else Path(content)
        name = name or (path.name if path is not None else "")
        if not _is_file_name(name):
            raise BadOutput(
                f"send_file: {name!r} is no name for a file: a short one without slashes"
            )
        digest, size = hashlib.sha256(), 0
        waiting = b""
        async for part in self._parts(content):
            if size:
                await self._outbox.put(FilePart(name, media_type, waiting))
            waiting = part
            digest.update(part)
            size += len(part)
        await self._outbox.put(FilePart(name, media_type, waiting, True, digest.digest()))
        return {
            "file": name,
            "sha256": digest.hexdigest(),
            "bytes": size,
            "media_type": media_type,
        }

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work beside the loop. A cancelled run waits for it: look at `cancelled` in there."""
        work = self._loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await _ended(work)
            raise

    def cancel(self) -> None:
        """For the kit: nobody waits any more."""
        self._cancelled.set()

    async def _parts(self, content: Path | str | bytes) -> AsyncIterator[bytes]:
        if isinstance(content, bytes):
            for begin in range(0, len(content), FILE_PART_BYTES):
                yield content[begin : begin + FILE_PART_BYTES]
            return
        with await self.in_thread(Path(content).open, "rb") as file:
            while part := await self.in_thread(file.read, FILE_PART_BYTES):
                yield part


async def _ended(work: asyncio.Future[Any]) -> None:
    """However often we are told to go: a thread cannot be ended, and until it ends the slot is not free."""
    while not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()


def _count(what: str, count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= _COUNT_MAX:
        raise BadOutput(f"{what} must be a whole number from 0")
    return count


def _is_file_name(name: str) -> bool:
    return (
        0 < len(name) <= _NAME_CHARACTERS_MAX
        and name.isprintable()
        and "/" not in name
        and name not in (".", "..")
    )


def _progress(
    step: int, total: int, note: str, preview: bytes | None, preview_type: str
) -> Progress:
    if not 0 <= step <= _COUNT_MAX or not 0 <= total <= _COUNT_MAX:
        raise BadOutput("progress: step and total must be whole numbers from 0")
    if preview is not None and len(preview) > PREVIEW_BYTES_MAX:
        raise BadOutput(f"progress: a preview has at most {PREVIEW_BYTES_MAX} bytes")
    if preview is None:
        return Progress(int(step), int(total), note[:NOTE_CHARACTERS_MAX])
    return Progress(int(step), int(total), note[:NOTE_CHARACTERS_MAX], preview, preview_type)


@dataclass
class Setup:
    """What the function marked `@cargo.load` is given, and where it may leave what it measured."""

    manifest: Manifest
    model: Path | None
    threads: int
    slots: int
    determinism_class: str = ""
    """Runs of equal class give equal output for equal seeds."""
    items_per_s: float = 0.0
    first_item_ms: float = 0.0
    prompt_tokens_per_s: float = 0.0
    kept_runs: Callable[[], Iterable[str]] = tuple
    """Ids of ended runs (`run.id`) from whose input the next of the same salt could begin, the newest first."""
    done: float = 0.0

    async def progress(self, step: int, total: int) -> None:
        """How far loading is."""
        self.tell(step, total)
        await asyncio.sleep(0)

    def tell(self, step: int, total: int) -> None:
        """Like `progress`, from any thread."""
        self.done = min(1.0, max(0.0, step / total)) if total > 0 else 0.0

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work beside the loop, so that the Island hears how far it is."""
        return await asyncio.to_thread(function, *args, **kwargs)
