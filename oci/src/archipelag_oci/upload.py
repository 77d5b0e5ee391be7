"""A blob on its way to a registry: not sent if it is there, mounted if it lies beside, in pieces if it is large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import httpx

from archipelag_oci.connection import Connection, pulling, pushing
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import NotInRegistry, RegistryLied
from archipelag_oci.reference import Reference, is_repository

READ_BYTES: Final = 256 * 1024


@dataclass(frozen=True)
class Source:
    """A blob and where its bytes are: in memory or in a file."""

    descriptor: Descriptor
    data: bytes | Path

    def part(self, begin: int, end: int) -> Callable[[], AsyncIterator[bytes]]:
        async def read() -> AsyncIterator[bytes]:
            if isinstance(self.data, bytes):
                yield self.data[begin:end]
                return
            with self.data.open("rb") as file:
                file.seek(begin)
                rest = end - begin
                while rest:
                    piece = await asyncio.to_thread(_read, file, min(rest, READ_BYTES))
                    if not piece:
                        raise OSError(f"{self.data} became shorter while it was sent")
                    rest -= len(piece)
                    yield piece

        return read


class Upload:
    def __init__(
        self, connection: Connection, reference: Reference, source: Source, mount_from: str
    ) -> None:
        assert not mount_from or is_repository(mount_from)
        self._connection = connection
        self._reference = reference
        self._source = source
        self._mount_from = mount_from

    async def run(self) -> None:
        await self._connection.patiently(self._once)

    async def _once(self) -> None:
        if await self._is_there():
            return
        place = await self._begin()
        if place is None:
            return
        size = self._source.descriptor.size
        step = self._connection.settings.chunk_bytes
        done = 0
        if size > step:
            while done < size:
                place = await self._piece(place, done, min(done + step, size))
                done = min(done + step, size)
        await self._finish(place, done, size)

    async def _is_there(self) -> bool:
        digest = self._source.descriptor.digest
        path = f"/v2/{self._reference.repository}/blobs/{digest}"
        try:
            async with self._connection.request(
                "HEAD", self._reference.registry, path, scope=pulling(self._reference)
            ):
                return True
        except NotInRegistry:
            return False

    async def _begin(self) -> httpx.URL | None:
        """Where to send it; None when the registry took it from the repository beside."""
        registry = self._reference.registry
        url = self._connection.address(registry, f"/v2/{self._reference.repository}/blobs/uploads/")
        if self._mount_from:
            url = url.copy_merge_params(
                {"mount": self._source.descriptor.digest, "from": self._mount_from}
            )
        async with self._connection.request(
            "POST",
            registry,
            url,
            scope=pushing(self._reference),
            headers={"Content-Length": "0"},
            expect=(201, 202),
        ) as answer:
            if answer.status_code == httpx.codes.CREATED:
                return None
            return self._next(answer, url)

    async def _piece(self, place: httpx.URL, begin: int, end: int) -> httpx.URL:
        async with self._connection.request(
            "PATCH",
            self._reference.registry,
            place,
            scope=pushing(self._reference),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(end - begin),
                "Content-Range": f"{begin}-{end - 1}",
            },
            body=self._source.part(begin, end),
            expect=(202,),
        ) as answer:
            return self._next(answer, place)

    async def _finish(self, place: httpx.URL, begin: int, end: int) -> None:
        async with self._connection.request(
            "PUT",
            self._reference.registry,
            place.copy_merge_params({"digest": self._source.descriptor.digest}),
            scope=pushing(self._reference),
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(end - begin),
            },
            body=self._source.part(begin, end) if end > begin else None,
            expect=(201,),
        ):
            pass

    def _next(self, answer: httpx.Response, base: httpx.URL) -> httpx.URL:
        location = answer.headers.get("location", "")
        if not location:
            raise RegistryLied(f"{self._reference.registry} does not say where to send a blob")
        return self._connection.follow(self._reference.registry, base, location)


def _read(file: BinaryIO, size: int) -> bytes:
    return file.read(size)
