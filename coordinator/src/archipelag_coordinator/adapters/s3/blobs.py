"""Bytes of files in a bucket of an object store that speaks S3: one object a piece."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from archipelag_coordinator.adapters.s3.signing import Access, encoded, signed
from archipelag_coordinator.domain.file import BlobId

TIMEOUT_S: Final = 30.0
AT_ONCE_MAX: Final = 16
TRIES: Final = 3
RETRY_S: Final = 0.2
_KEYS: Final = re.compile(r"<Key>([^<]{1,1024})</Key>")


@dataclass(frozen=True)
class Bucket:
    """`s3://bucket/prefix?endpoint=https://…&region=…`. The bucket stands in the path: every server knows that."""

    name: str
    prefix: str
    endpoint: str
    region: str


def bucket_of(address: str) -> Bucket:
    """Raises ValueError with a sentence that says what to do."""
    parts = urlsplit(address)
    given = {name: values[0] for name, values in parse_qs(parts.query).items()}
    region = given.get("region", "us-east-1")
    endpoint = given.get("endpoint", f"https://s3.{region}.amazonaws.com")
    if parts.scheme != "s3" or not parts.netloc or given.keys() - {"endpoint", "region"}:
        raise ValueError("must be s3://bucket/prefix?endpoint=https://…&region=…")
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError("endpoint must begin with https:// or http://")
    prefix = parts.path.strip("/")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "", endpoint.rstrip("/"), region)


class S3Blobs:
    """Implements `Blobs`. Close it at the end."""

    def __init__(self, bucket: Bucket, access: Access, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._access = access
        self._now = now
        limits = httpx.Limits(max_connections=AT_ONCE_MAX)
        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def put(self, blob: BlobId, number: int, data: bytes) -> None:
        self._check(await self._ask("PUT", self._key(blob, number), body=data))

    async def get(self, blob: BlobId, number: int) -> bytes | None:
        answer = await self._ask("GET", self._key(blob, number))
        if answer.status_code == 404:
            return None
        self._check(answer)
        return answer.content

    async def delete(self, blob: BlobId) -> None:
        prefix = f"{self._bucket.prefix}{blob}/"
        while True:
            answer = await self._ask("GET", "", {"list-type": "2", "prefix": prefix})
            self._check(answer)
            keys = _KEYS.findall(answer.text)
            for key in keys:
                if not key.startswith(prefix):
                    raise ConnectionError("the object store lists what was not asked for")
                self._check(await self._ask("DELETE", key), or_status=404)
            if not keys:
                return

    def _key(self, blob: BlobId, number: int) -> str:
        return f"{self._bucket.prefix}{blob}/{number}"

    async def _ask(
        self, method: str, key: str, query: dict[str, str] | None = None, body: bytes = b""
    ) -> httpx.Response:
        """Tries again what the store could not do just now. Raises ConnectionError."""
        path = quote(
            f"/{self._bucket.name}/{key}" if key else f"/{self._bucket.name}", safe="/-_.~"
        )
        host = urlsplit(self._bucket.endpoint).netloc
        address = f"{self._bucket.endpoint}{path}"
        if query:
            address += f"?{encoded(query)}"
        told = ""
        for turn in range(TRIES):
            if turn:
                await asyncio.sleep(RETRY_S * 2**turn)
            headers = signed(self._access, method, host, path, query or {}, body, self._now())
            try:
                answer = await self._http.request(method, address, content=body, headers=headers)
            except httpx.TransportError as error:
                told = repr(error)
                continue
            if answer.status_code < 500 and answer.status_code != 429:
                return answer
            told = f"it answered {answer.status_code}"
        raise ConnectionError(f"the object store does not do what it is asked: {told}")

    @staticmethod
    def _check(answer: httpx.Response, or_status: int = 200) -> None:
        if not answer.is_success and answer.status_code != or_status:
            raise ConnectionError(
                f"the object store refused: {answer.status_code} {answer.text[:200]}"
            )
