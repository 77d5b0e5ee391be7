"""A blob on its way to a file: hashed and counted while it flows, gone on with where it broke off."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import httpx

from archipelag_oci.connection import Connection, Passing, pulling
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import (
    RegistryLied,
    RegistryUnreachable,
    WrongDigest,
    WrongSize,
    disk_full_is_told,
)
from archipelag_oci.reference import Reference

Progress = Callable[[str, int, int], None]
"""Called with a digest, the bytes that are here and the bytes in all."""

WRITE_BYTES: Final = 1 << 20

_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


def ignore(_digest: str, _here: int, _in_all: int) -> None:
    """For who does not want to know."""


class Download:
    """One blob. The file grows only by bytes that were counted; only the whole of it is ever trusted."""

    def __init__(
        self,
        connection: Connection,
        reference: Reference,
        blob: Descriptor,
        path: Path,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._reference = reference
        self._blob = blob
        self._path = path
        self._progress = progress
        self._here = 0
        self._hash = hashlib.sha256()

    async def run(self) -> None:
        try:
            async with asyncio.timeout(self._time_s()):
                await self._run()
        except TimeoutError:
            raise RegistryUnreachable(
                f"{self._reference.registry} is too slow: {self._here} of {self._blob.size} bytes of "
                f"{self._blob.digest} in {self._time_s():.0f} s; what is here is kept, try again"
            ) from None
        except RegistryUnreachable:
            raise  # What is here is gone on with next time.
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._path.unlink(missing_ok=True)
            raise

    def _time_s(self) -> float:
        return self._settings.slack_s + self._blob.size / self._settings.bytes_s_min

    async def _run(self) -> None:
        with disk_full_is_told(self._path.parent), self._open() as file:
            await asyncio.to_thread(self._take_up, file)
            resumed = self._here > 0
            await self._fill(file)
            if self._found() != self._blob.digest and resumed:
                # What an earlier try left may have been spoilt since: once more, from the start.
                self._restart(file)
                await self._fill(file)
            if self._found() != self._blob.digest:
                raise WrongDigest(
                    f"{self._reference.registry} sent other bytes than {self._blob.digest}"
                )

    def _open(self) -> BinaryIO:
        self._path.touch(mode=0o600)
        return self._path.open("r+b", buffering=0)

    def _take_up(self, file: BinaryIO) -> None:
        while part := file.read(WRITE_BYTES):
            self._hash.update(part)
            self._here += len(part)
            if self._here > self._blob.size:
                self._restart(file)
                return

    def _restart(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self._here = 0
        self._hash = hashlib.sha256()

    async def _fill(self, file: BinaryIO) -> None:
        attempt = 0
        while self._here < self._blob.size:
            before = self._here
            try:
                await self._once(file)
                if self._here < self._blob.size:
                    raise Passing(f"{self._reference.registry} breaks off")
            except Passing as error:
                attempt = 0 if self._here > before else attempt + 1
                if attempt >= self._settings.attempts_max:
                    raise RegistryUnreachable(
                        f"{error}, with {self._here} of {self._blob.size} bytes of {self._blob.digest} here; "
                        "they are kept, try again later"
                    ) from error
                await self._connection.wait(attempt, error.wait_s)

    async def _once(self, file: BinaryIO) -> None:
        asked = self._here
        async with self._connection.request(
            "GET",
            self._reference.registry,
            f"/v2/{self._reference.repository}/blobs/{self._blob.digest}",
            scope=pulling(self._reference),
            headers={"Range": f"bytes={asked}-"} if asked else {},
            expect=(200, 206, 416) if asked else (200,),
        ) as answer:
            if asked and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                self._restart(file)  # It knows no ranges.
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise Passing(f"{self._reference.registry} does not go on at byte {asked}")
            self._check_head(answer)
            held: list[bytes] = []
            size = 0
            try:
                async for part in answer.aiter_raw():
                    size += len(part)
                    if self._here + size > self._blob.size:
                        raise WrongSize(
                            f"{self._reference.registry} sends more than the {self._blob.size} bytes of "
                            f"{self._blob.digest}"
                        )
                    held.append(part)
                    if size >= WRITE_BYTES:
                        await self._write(file, held)
                        size = 0
            finally:
                # What came before a line broke is not asked for again.
                await self._write(file, held)

    def _check_head(self, answer: httpx.Response) -> None:
        rest = self._blob.size - self._here
        if answer.status_code == httpx.codes.PARTIAL_CONTENT:
            found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if (
                found is None
                or int(found[1]) != self._here
                or int(found[2]) != self._blob.size - 1
                or found[3] not in ("*", str(self._blob.size))
            ):
                raise RegistryLied(
                    f"{self._reference.registry} answers with another range of {self._blob.digest}"
                )
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) != rest:
            raise WrongSize(
                f"{self._reference.registry} says {int(length)} bytes instead of {rest} for {self._blob.digest}"
            )

    async def _write(self, file: BinaryIO, held: list[bytes]) -> None:
        data = b"".join(held)
        held.clear()
        if data:
            await asyncio.to_thread(_write_all, file, data, self._hash)
            self._here += len(data)
            self._progress(self._blob.digest, self._here, self._blob.size)

    def _found(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _write_all(file: BinaryIO, data: bytes, running: hashlib._Hash) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    running.update(data)
