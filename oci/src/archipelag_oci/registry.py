"""A client for any registry of the OCI distribution specification: what is read is checked while it flows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import httpx

from archipelag_oci import media, strict
from archipelag_oci.auth import bounded
from archipelag_oci.connection import Connection, pulling, pushing
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.download import Download, Progress, ignore
from archipelag_oci.errors import (
    BadDocument,
    NotInRegistry,
    RegistryLied,
    TooLarge,
    WrongDigest,
    WrongSize,
)
from archipelag_oci.manifests import MANIFEST_BYTES_MAX
from archipelag_oci.reference import Reference, is_digest, is_tag, sha256
from archipelag_oci.settings import Settings
from archipelag_oci.upload import Source, Upload

TAGS_MAX: Final = 10_000
TAGS_BYTES_MAX: Final = 1 << 20
ACCEPT: Final = ", ".join((*media.MANIFESTS, *media.INDEXES))


@dataclass(frozen=True)
class Fetched:
    """A manifest's bytes, as the registry keeps them, and what it calls them."""

    data: bytes
    media_type: str
    digest: str


class Registry:
    """Use as `async with Registry(settings) as registry`. One serves any number of registries and tasks."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self._connection = Connection(
            settings or Settings(), transport=transport, chance=chance, sleep=sleep
        )

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def manifest(self, reference: Reference) -> Fetched:
        """Bounded; by digest it is checked. Raises NotInRegistry, WrongDigest and others of the tree."""
        return await self._connection.patiently(lambda: self._manifest(reference))

    async def has_manifest(self, reference: Reference) -> bool:
        path = f"/v2/{reference.repository}/manifests/{reference.version}"
        return await self._connection.patiently(lambda: self._has(reference, path))

    async def has_blob(self, reference: Reference, digest: str) -> bool:
        path = f"/v2/{reference.repository}/blobs/{digest}"
        return await self._connection.patiently(lambda: self._has(reference, path))

    async def blob_to_file(
        self,
        reference: Reference,
        blob: Descriptor,
        path: Path,
        progress: Progress = ignore,
    ) -> None:
        """Fills `path` with the blob; goes on with what an earlier try left there.

        Raises WrongDigest, WrongSize, DiskFull and others of the tree. After a failure of the network what is there
        stays, to be gone on with; after any other the file is gone.
        """
        await Download(self._connection, reference, blob, path, progress).run()

    async def blob(self, reference: Reference, blob: Descriptor, bytes_max: int) -> bytes:
        """A small one, into memory."""
        if blob.size > bytes_max:
            raise TooLarge(f"{blob.digest} has {blob.size} bytes; {bytes_max} at most")
        data = await self._connection.patiently(lambda: self._blob(reference, blob))
        if len(data) != blob.size:
            raise WrongSize(f"{blob.digest} has {len(data)} bytes instead of {blob.size}")
        if sha256(data) != blob.digest:
            raise WrongDigest(f"{reference.registry} sent other bytes than {blob.digest}")
        return data

    async def push_blob(self, reference: Reference, source: Source, mount_from: str = "") -> None:
        """Sends it unless it is there; from `mount_from`, a repository beside, without sending where it can."""
        await Upload(self._connection, reference, source, mount_from).run()

    async def push_manifest(self, reference: Reference, data: bytes, media_type: str) -> str:
        """Gives the digest under which it lies."""
        digest = sha256(data)
        if reference.digest and reference.digest != digest:
            raise WrongDigest(f"the manifest is {digest}, not {reference.digest}")
        await self._connection.patiently(lambda: self._push_manifest(reference, data, media_type))
        return digest

    async def tags(self, reference: Reference, page: int = 1000) -> tuple[str, ...]:
        """Of the repository, sorted; none where there is no such repository. `page`: how many are asked for at once."""
        found: list[str] = []
        url = self._connection.address(
            reference.registry, f"/v2/{reference.repository}/tags/list?n={page}"
        )
        while True:
            part, following = await self._connection.patiently(lambda: self._tags(reference, url))  # noqa: B023 - awaited before the next round
            found.extend(part)
            if len(found) > TAGS_MAX:
                raise TooLarge(f"{reference.name} has more than {TAGS_MAX} tags")
            if following is None or not part:
                return tuple(sorted(found))
            url = following

    async def _manifest(self, reference: Reference) -> Fetched:
        path = f"/v2/{reference.repository}/manifests/{reference.version}"
        async with self._connection.request(
            "GET",
            reference.registry,
            path,
            scope=pulling(reference),
            headers={"Accept": ACCEPT},
        ) as answer:
            data = await bounded(answer, MANIFEST_BYTES_MAX)
            kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            announced = answer.headers.get("docker-content-digest", "")
        digest = sha256(data)
        if reference.digest and digest != reference.digest:
            raise WrongDigest(f"{reference.registry} sent {digest} for {reference}")
        if is_digest(announced) and announced != digest:
            raise WrongDigest(f"{reference.registry} sent {digest} and called it {announced}")
        return Fetched(data, kind, digest)

    async def _has(self, reference: Reference, path: str) -> bool:
        try:
            async with self._connection.request(
                "HEAD",
                reference.registry,
                path,
                scope=pulling(reference),
                headers={"Accept": ACCEPT},
            ):
                return True
        except NotInRegistry:
            return False

    async def _blob(self, reference: Reference, blob: Descriptor) -> bytes:
        path = f"/v2/{reference.repository}/blobs/{blob.digest}"
        async with self._connection.request(
            "GET", reference.registry, path, scope=pulling(reference)
        ) as answer:
            return await bounded(answer, blob.size)

    async def _push_manifest(self, reference: Reference, data: bytes, media_type: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield data

        version = reference.version
        async with self._connection.request(
            "PUT",
            reference.registry,
            f"/v2/{reference.repository}/manifests/{version}",
            scope=pushing(reference),
            headers={"Content-Type": media_type, "Content-Length": str(len(data))},
            body=body,
            expect=(201,),
        ):
            pass

    async def _tags(
        self, reference: Reference, url: httpx.URL
    ) -> tuple[list[str], httpx.URL | None]:
        try:
            async with self._connection.request(
                "GET", reference.registry, url, scope=pulling(reference)
            ) as answer:
                data = await bounded(answer, TAGS_BYTES_MAX)
                link = answer.links.get("next", {}).get("url", "")
        except NotInRegistry:
            return [], None
        try:
            document = strict.parse_object(data, "the list of tags", TAGS_BYTES_MAX)
            page = list(strict.strings(document, "tags", "the list of tags", TAGS_MAX))
        except BadDocument as error:
            raise RegistryLied(f"{reference.registry}: {error}") from None
        if not all(is_tag(each) for each in page):
            raise RegistryLied(f"{reference.registry} lists tags that are none")
        following = self._connection.follow(reference.registry, url, link) if link else None
        return page, following
