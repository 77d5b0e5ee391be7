"""Files of a run: the inputs are fetched and checked before it, the outputs are sent on as the Cargo makes them.

Nothing here follows a path or believes a word of the Cargo's: an input lies under its own id, and an output is what its
bytes are. Both are gone from this disk when the run is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from archipelag_contracts.pb.archipelag.v1 import files_pb2 as pb
from google.protobuf.message import DecodeError

from archipelag_island.domain.attempt import Assignment, AttemptKey, FileRef
from archipelag_island.domain.backoff import Backoff
from archipelag_island.errors import BrokerUnreachable, FilesUnavailable, NoAnswer
from archipelag_island.runtime import FilePart, InputFile

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 512 << 10
AT_ONCE_MAX: Final = 4
"""Questions of this Island that wait for an answer: a Coordinator answers a few of each at once."""
READ_AHEAD: Final = 3
TRIES_MAX: Final = 8
FREE_BYTES_MIN: Final = 256 << 20
"""Left free on the disk, whatever the cap says."""

_WORDS: Final = {
    pb.FileReply.REFUSED_STALE: "the attempt is no longer this Island's",
    pb.FileReply.REFUSED_UNKNOWN: "the Coordinator knows no such file of this job",
    pb.FileReply.REFUSED_TOO_LARGE: "it is larger than allowed",
    pb.FileReply.REFUSED_BAD_PART: "a part of it was not accepted",
    pb.FileReply.REFUSED_LOST: "its content was lost; it must be uploaded again",
}

Ask = Callable[[bytes], Awaitable[bytes]]
"""A request on `….files` → its reply. Raises BrokerUnreachable or NoAnswer."""


class CoordinatorFiles:
    """Implements `Files`. `over` says why so many more bytes of inputs may not be had here; None: they may."""

    def __init__(
        self,
        ask: Ask,
        folder: Path,
        *,
        over: Callable[[int], str | None],
        backoff: Callable[[], Backoff],
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._ask = ask
        self._folder = folder
        self._over = over
        self._backoff = backoff
        self._free_bytes = free_bytes
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._taken: dict[AttemptKey, int] = {}
        self._outputs: dict[AttemptKey, dict[str, _Output]] = {}
        # What lay here belonged to runs of a process that is gone.
        shutil.rmtree(folder, ignore_errors=True)

    @asynccontextmanager
    async def inputs(self, assignment: Assignment) -> AsyncIterator[tuple[InputFile, ...]]:
        key = assignment.key
        try:
            yield await self._fetch_all(assignment)
        finally:
            self._outputs.pop(key, None)
            if self._taken.pop(key, None) is not None:
                shutil.rmtree(self._folder / str(key), ignore_errors=True)

    async def send(self, key: AttemptKey, offset: int, part: FilePart) -> None:
        """Whole pieces go on at once, and the rest with the next part: the Coordinator takes pieces of one size."""
        output = self._outputs.setdefault(key, {}).setdefault(part.name, _Output())
        assert offset == output.sent + len(output.rest), "parts come in order"
        output.rest += part.data
        output.whole.update(part.data)
        while len(output.rest) > PIECE_BYTES or (len(output.rest) == PIECE_BYTES and not part.last):
            await self._write(key, part, output, bytes(output.rest[:PIECE_BYTES]), last=False)
            del output.rest[:PIECE_BYTES]
        if part.last:
            await self._write(key, part, output, bytes(output.rest), last=True)
            del self._outputs[key][part.name]

    async def _fetch_all(self, assignment: Assignment) -> tuple[InputFile, ...]:
        if not assignment.files:
            return ()
        key = assignment.key
        self._take_room(key, sum(file.size_bytes for file in assignment.files))
        folder = self._folder / str(key)
        try:
            folder.mkdir(mode=0o755, parents=True)
            for file in assignment.files:
                await self._fetch(key, file, folder / file.id)
        except OSError as error:
            raise FilesUnavailable(f"the input files have no place on this disk: {error}") from None
        return tuple(InputFile(file.id, folder / file.id) for file in assignment.files)

    def _take_room(self, key: AttemptKey, size: int) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = self._free_bytes(self._folder) - FREE_BYTES_MIN
        over = self._over(size + sum(self._taken.values()))
        if over is not None or size > free:
            why = over or "the disk is full"
            raise FilesUnavailable(f"no room here for {size} bytes of input files: {why}")
        self._taken[key] = size

    async def _fetch(self, key: AttemptKey, file: FileRef, path: Path) -> None:
        whole = hashlib.sha256()
        with path.open("xb") as out:
            os.fchmod(out.fileno(), 0o644)
            reading: list[asyncio.Task[bytes]] = []
            try:
                offsets = iter(range(0, file.size_bytes, PIECE_BYTES))
                while True:
                    while len(reading) < READ_AHEAD and (at := next(offsets, None)) is not None:
                        length = min(PIECE_BYTES, file.size_bytes - at)
                        reading.append(asyncio.create_task(self._read(key, file, at, length)))
                    if not reading:
                        break
                    data = await reading[0]
                    del reading[0]
                    whole.update(data)
                    await asyncio.to_thread(out.write, data)
            finally:
                for task in reading:
                    task.cancel()
                await asyncio.gather(*reading, return_exceptions=True)
        if whole.digest() != file.sha256:
            raise FilesUnavailable(f"{file.id} is not what was assigned: its SHA-256 differs")

    async def _read(self, key: AttemptKey, file: FileRef, offset: int, length: int) -> bytes:
        read = pb.FileRead(file_id=file.id, offset=offset, length=length)
        reply = await self._request(key, pb.FileRequest(read=read), file.id)
        if len(reply.data) != length:
            raise FilesUnavailable(f"{file.id} is shorter than was assigned")
        return reply.data

    async def _write(
        self, key: AttemptKey, part: FilePart, output: _Output, data: bytes, *, last: bool
    ) -> None:
        write = pb.FileWrite(
            name=part.name,
            media_type=part.media_type[:100],
            offset=output.sent,
            data=data,
            last=last,
            sha256=output.whole.digest() if last else b"",
        )
        reply = await self._request(key, pb.FileRequest(write=write), part.name)
        output.sent += len(data)
        if reply.next_offset != output.sent or (last and not reply.HasField("file")):
            raise FilesUnavailable(f"{part.name}: the Coordinator has another part of it")

    async def _request(self, key: AttemptKey, request: pb.FileRequest, what: str) -> pb.FileReply:
        """Asked again as long as the answer may still come. Raises FilesUnavailable."""
        request.job_id, request.epoch = key.job_id, key.epoch
        payload = request.SerializeToString()
        waits, why = self._backoff(), ""
        for _ in range(TRIES_MAX):
            try:
                async with self._room:
                    reply = pb.FileReply.FromString(await self._ask(payload))
            except (BrokerUnreachable, NoAnswer) as error:
                why = str(error)
            except DecodeError:
                why = "the answer cannot be read"
            else:
                if not reply.refused:
                    return reply
                if reply.refused != pb.FileReply.REFUSED_TRY_AGAIN:
                    raise FilesUnavailable(f"{what}: {_WORDS.get(reply.refused, 'refused')}")
                why = "the Coordinator cannot do it now"
            log.info("file_asked_again attempt=%s file=%s why=%s", key, what, why)
            await asyncio.sleep(waits.next_s())
        raise FilesUnavailable(f"{what}: {why}")


class _Output:
    """What of an output file has come and is not yet sent."""

    def __init__(self) -> None:
        self.rest = bytearray()
        self.whole = hashlib.sha256()
        self.sent = 0
