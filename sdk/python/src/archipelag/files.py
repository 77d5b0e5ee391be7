"""What both clients do with files: sent as they lie on the disk, fetched to it whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from archipelag import operations_of_jobs as operations
from archipelag import values
from archipelag.calls import AsyncCalls, Calls
from archipelag.errors import StreamBrokenError
from archipelag.listing import Listing
from archipelag.operations import Operation, Upload

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes themselves, or a file that is open for reading."""


class FileCalls:
    """Files, in the client that waits."""

    def upload_file(
        self: Calls, file: Source, *, name: str | None = None, purpose: str = "user_data"
    ) -> values.File:
        """Sends it piece by piece, however large it is."""
        with _opened(file, name) as upload:
            return self.call(operations.upload_file(upload, purpose))

    def list_files(
        self: Calls, *, purpose: str | None = None, limit: int | None = None
    ) -> Iterator[values.File]:
        """One's files, newest first; pages are fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values.File](limit)
        while listing.more:
            page = self.call(operations.list_files(listing.page_size, listing.last, purpose))
            yield from listing.fresh(page)

    def get_file(self: Calls, file_id: str) -> values.File:
        return self.call(operations.get_file(file_id))

    def file_content(self: Calls, file_id: str) -> bytes:
        """The whole of a file that fits into memory."""
        return self._send(operations.file_content(file_id), stream=False).content

    def download_file(self: Calls, file_id: str, to: str | os.PathLike[str]) -> values.File:
        """To this path once it is there whole and its hash holds; goes on where it broke. Raises StreamBrokenError."""
        file = self.call(operations.get_file(file_id))
        with Download(file, Path(to)) as download:
            while not download.whole:
                response = self._send(download.next(self.settings.retries_max), stream=True)
                try:
                    download.begin(response)
                    for block in response.iter_bytes():
                        download.write(block)
                except httpx.TransportError:
                    continue
                finally:
                    response.close()
        return file

    def delete_file(self: Calls, file_id: str) -> None:
        self.call(operations.delete_file(file_id))


class AsyncFileCalls:
    """The same, in the client for asyncio."""

    async def upload_file(
        self: AsyncCalls, file: Source, *, name: str | None = None, purpose: str = "user_data"
    ) -> values.File:
        """Sends it piece by piece, however large it is."""
        with _opened(file, name) as upload:
            return await self.call(operations.upload_file(upload, purpose))

    async def list_files(
        self: AsyncCalls, *, purpose: str | None = None, limit: int | None = None
    ) -> AsyncIterator[values.File]:
        """One's files, newest first; pages are fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values.File](limit)
        while listing.more:
            page = await self.call(operations.list_files(listing.page_size, listing.last, purpose))
            for file in listing.fresh(page):
                yield file

    async def get_file(self: AsyncCalls, file_id: str) -> values.File:
        return await self.call(operations.get_file(file_id))

    async def file_content(self: AsyncCalls, file_id: str) -> bytes:
        """The whole of a file that fits into memory."""
        return (await self._send(operations.file_content(file_id), stream=False)).content

    async def download_file(
        self: AsyncCalls, file_id: str, to: str | os.PathLike[str]
    ) -> values.File:
        """To this path once it is there whole and its hash holds; goes on where it broke. Raises StreamBrokenError."""
        file = await self.call(operations.get_file(file_id))
        with Download(file, Path(to)) as download:
            while not download.whole:
                response = await self._send(download.next(self.settings.retries_max), stream=True)
                try:
                    download.begin(response)
                    async for block in response.aiter_bytes():
                        download.write(block)
                except httpx.TransportError:
                    continue
                finally:
                    await response.aclose()
        return file

    async def delete_file(self: AsyncCalls, file_id: str) -> None:
        await self.call(operations.delete_file(file_id))


class Download:
    """Guards a file that is not yet whole: it lies beside its place, and is gone if nothing comes of it."""

    def __init__(self, file: values.File, to: Path) -> None:
        self._file = file
        self._to = to
        self._part = to.with_name(f".{to.name}.part")
        self._out: BinaryIO = self._part.open("wb")
        self._hash = hashlib.sha256()
        self._size = 0
        self._tries = 0
        self._before = -1

    @property
    def whole(self) -> bool:
        return self._size == self._file.size_bytes

    def next(self, breaks_max: int) -> Operation[None]:
        """What to ask for now. Raises StreamBrokenError once it broke too often without getting on."""
        self._tries = 0 if self._size > self._before else self._tries + 1
        self._before = self._size
        if self._tries > breaks_max:
            raise StreamBrokenError(f"{self._file.id} stopped at byte {self._size}")
        return operations.file_content(self._file.id, self._size, f'"{self._file.sha256}"')

    def begin(self, response: httpx.Response) -> None:
        if response.status_code != 206:
            # From the beginning after all.
            self._out.seek(0)
            self._out.truncate()
            self._hash, self._size = hashlib.sha256(), 0

    def write(self, block: bytes) -> None:
        self._out.write(block)
        self._hash.update(block)
        self._size += len(block)
        if self._size > self._file.size_bytes:
            raise StreamBrokenError(f"{self._file.id} is longer than it should be")

    def __enter__(self) -> Download:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._out.close()
        if kind is not None:
            self._part.unlink(missing_ok=True)
        elif self._hash.hexdigest() != self._file.sha256:
            self._part.unlink(missing_ok=True)
            raise StreamBrokenError(
                f"{self._file.id} is not what it should be: its SHA-256 differs"
            )
        else:
            self._part.replace(self._to)


@contextmanager
def _opened(file: Source, name: str | None) -> Iterator[Upload]:
    if isinstance(file, (str, os.PathLike)):
        path = Path(file)
        with path.open("rb") as content:
            yield Upload(name or path.name, content)
    elif isinstance(file, bytes):
        yield Upload(name or "file", file)
    else:
        given = getattr(file, "name", None)
        yield Upload(name or (Path(given).name if isinstance(given, str) else "file"), file)
