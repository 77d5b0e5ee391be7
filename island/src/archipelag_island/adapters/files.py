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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import FileId
from archipelag_contracts.pb.archipelag.v1 import files_pb2 as pb
from google.protobuf.message import DecodeError

from archipelag_island.domain.attempt import Assignment, AttemptKey, FileRef
from archipelag_island.domain.backoff import Backoff
from archipelag_island.errors import (
    BrokerUnreachable,
    CargoFailed,
    FilesUnavailable,
    NoAnswer,
)
from archipelag_island.runtime import FilePart, InputFile

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 512 << 10
AT_ONCE_MAX: Final = 4
"""Questions of this Island that wait for an answer: a Coordinator answers a few of each at once."""
READ_AHEAD: Final = 3
TRIES_MAX: Final = 8
NAME_BYTES_MAX: Final = 200
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
    """Implements `Files`. `bytes_max`: what inputs of all runs together may take of this disk."""

    def __init__(
        self,
        ask: Ask,
        folder: Path,
        *,
        bytes_max: int,
        backoff: Callable[[], Backoff],
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._ask = ask
        self._folder = folder
        self._bytes_max = bytes_max
        self._backoff = backoff
        self._free_bytes = free_bytes
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._taken: dict[AttemptKey, int] = {}
        # What lay here belonged to runs of a process that is gone.
        shutil.rmtree(folder, ignore_errors=True)

    async def fetch(self, assignment: Assignment) -> tuple[InputFile, ...]:
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
            self.drop(key)
            raise FilesUnavailable(f"the input files have no place on this disk: {error}") from None
        except BaseException:
            self.drop(key)
            raise
        return tuple(InputFile(file.id, folder / file.id) for file in assignment.files)

    def outputs(self, key: AttemptKey) -> Sending:
        return Sending(self, key)

    def drop(self, key: AttemptKey) -> None:
        self._taken.pop(key, None)
        shutil.rmtree(self._folder / str(key), ignore_errors=True)

    def _take_room(self, key: AttemptKey, size: int) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = self._free_bytes(self._folder) - FREE_BYTES_MIN
        if size > min(self._bytes_max - sum(self._taken.values()), free):
            raise FilesUnavailable(f"this Island has no room for {size} bytes of input files")
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
        reply = await self.request(key, pb.FileRequest(read=read), file.id)
        if len(reply.data) != length:
            raise FilesUnavailable(f"{file.id} is shorter than was assigned")
        return reply.data

    async def request(self, key: AttemptKey, request: pb.FileRequest, what: str) -> pb.FileReply:
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


class Sending:
    """Implements `Outputs`: one run's files, each sent on in whole pieces as soon as there is one."""

    def __init__(self, files: CoordinatorFiles, key: AttemptKey) -> None:
        self._files = files
        self._key = key
        self._open: dict[str, _Output] = {}
        self._done: dict[str, FileRef] = {}

    async def take(self, part: FilePart) -> FileRef | None:
        if part.name in self._done:
            raise CargoFailed(f"it made the file {part.name[:80]!r} twice")
        output = self._open.get(part.name)
        if output is None:
            _check_name(part.name)
            output = self._open[part.name] = _Output()
        output.rest += part.data
        output.whole.update(part.data)
        while len(output.rest) >= PIECE_BYTES and not (
            part.last and len(output.rest) == PIECE_BYTES
        ):
            await self._send(part, output, bytes(output.rest[:PIECE_BYTES]), last=False)
            del output.rest[:PIECE_BYTES]
        if not part.last:
            return None
        if part.sha256 and part.sha256 != output.whole.digest():
            raise CargoFailed(f"the file {part.name!r} is not what it said: its SHA-256 differs")
        await self._send(part, output, bytes(output.rest), last=True)
        made = FileRef(output.id, output.whole.digest(), output.sent, part.media_type)
        del self._open[part.name]
        self._done[part.name] = made
        return made

    def finish(self) -> None:
        if self._open:
            raise CargoFailed(f"it ended in the middle of the file {next(iter(self._open))!r}")

    async def _send(self, part: FilePart, output: _Output, data: bytes, *, last: bool) -> None:
        write = pb.FileWrite(
            name=part.name,
            media_type=part.media_type[:100],
            offset=output.sent,
            data=data,
            last=last,
            sha256=output.whole.digest() if last else b"",
        )
        reply = await self._files.request(self._key, pb.FileRequest(write=write), part.name)
        output.sent += len(data)
        if reply.next_offset != output.sent:
            raise FilesUnavailable(f"{part.name}: the Coordinator has another part of it")
        if last:
            try:
                output.id = ids.file_id(reply.file.file_id)
            except BadId:
                raise FilesUnavailable(f"{part.name}: the Coordinator did not name it") from None


class _Output:
    """What of a file has come and is not yet sent."""

    def __init__(self) -> None:
        self.rest = bytearray()
        self.whole = hashlib.sha256()
        self.sent = 0
        self.id = FileId("")
        """As the Coordinator calls it, once it has it whole."""


def _check_name(name: str) -> None:
    """The Coordinator looks as well; here it is the Cargo that is told."""
    plain = name.isprintable() and not {"/", "\\"} & set(name) and name.strip(". ") != ""
    if not plain or len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX or name != name.strip():
        raise CargoFailed(f"{name[:80]!r} is no plain name for a file")
