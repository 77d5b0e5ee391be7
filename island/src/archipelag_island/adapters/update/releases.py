"""Releases over HTTP. What comes is bounded, and believed by nobody before it was verified."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import httpx
from archipelag_contracts.releases import (
    DOCUMENT,
    DOCUMENT_BYTES_MAX,
    SIGNATURE,
    SIGNATURE_BYTES_MAX,
    File,
)

from archipelag_island.errors import ReleaseUnavailable

ANSWER_S: Final = 30.0
CHUNK_BYTES: Final = 1 << 20


class HttpReleases:
    """`url` is the folder that the files of a release lie below."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._transport = transport

    async def newest(self) -> tuple[bytes, bytes]:
        return (
            await self._small(DOCUMENT, DOCUMENT_BYTES_MAX),
            await self._small(SIGNATURE, SIGNATURE_BYTES_MAX),
        )

    async def _small(self, name: str, bytes_max: int) -> bytes:
        found = bytearray()
        async with aclosing(self._get(name)) as chunks:
            async for chunk in chunks:
                found += chunk
                if len(found) > bytes_max:
                    raise ReleaseUnavailable(f"{self._url}/{name} is larger than any can be")
        return bytes(found)

    def file(self, file: File) -> AsyncGenerator[bytes, None]:
        return self._get(f"sha256-{file.digest}")

    async def _get(self, name: str) -> AsyncGenerator[bytes, None]:
        try:
            async with (
                httpx.AsyncClient(timeout=ANSWER_S, transport=self._transport) as client,
                client.stream("GET", f"{self._url}/{name}") as answer,
            ):
                if answer.status_code != 200:
                    raise ReleaseUnavailable(
                        f"{self._url}/{name} answers {answer.status_code}: is ARCHIPELAG_ISLAND_UPDATE_URL right?"
                    )
                async for chunk in answer.aiter_raw(CHUNK_BYTES):
                    yield chunk
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReleaseUnavailable(f"{self._url}/{name}: {error!r}") from error
