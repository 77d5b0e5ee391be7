"""Runs FFmpeg as a child: hears its progress, keeps its last words, and ends it when nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_transcode.errors import NoFfmpeg

_WORDS_BYTES_MAX: Final = 256 << 10
_LINE_BYTES_MAX: Final = 64 << 10

Heard = Callable[[float], None]
"""Told how many seconds of the result stand."""


@dataclass(frozen=True)
class Ended:
    code: int
    words: str


def find() -> Path:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise NoFfmpeg("there is no FFmpeg: install the package imageio-ffmpeg") from None
    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise NoFfmpeg(str(error)) from None


async def run(binary: Path, arguments: Sequence[str], heard: Heard, folder: Path) -> Ended:
    child = await asyncio.create_subprocess_exec(
        binary,
        *arguments,
        cwd=folder,
        env={"HOME": str(folder), "LC_ALL": "C.UTF-8", "AV_LOG_FORCE_NOCOLOR": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
    )
    assert child.stdout is not None and child.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            words = tasks.create_task(_first_and_last(child.stderr))
            tasks.create_task(_hear(child.stdout, heard))
        return Ended(await child.wait(), words.result())
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _hear(progress: asyncio.StreamReader, heard: Heard) -> None:
    while line := await progress.readline():
        name, _, value = line.decode("ascii", "replace").strip().partition("=")
        if name == "out_time_us" and value.isdigit():
            heard(int(value) / 1e6)


async def _first_and_last(said: asyncio.StreamReader) -> str:
    """The head says what the input is, the tail why it failed; a broken file can make megabytes between."""
    head = bytearray()
    tail = b""
    while piece := await said.read(_LINE_BYTES_MAX):
        room = _WORDS_BYTES_MAX - len(head)
        head += piece[:room]
        tail = (tail + piece[room:])[-_WORDS_BYTES_MAX:] if len(piece) > room else tail
    return (bytes(head) + tail).decode("utf-8", "replace")
