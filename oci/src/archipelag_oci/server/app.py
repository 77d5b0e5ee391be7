"""The distribution specification's addresses over a store: push, pull, ranges, tags. Nothing is ever deleted."""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from archipelag_oci.errors import (
    BadDocument,
    BadReference,
    DiskFull,
    NotInRegistry,
    OciError,
    TooLarge,
    WrongDigest,
)
from archipelag_oci.manifests import MANIFEST_BYTES_MAX
from archipelag_oci.reference import is_digest
from archipelag_oci.server.store import Store

READ_BYTES: Final = 256 * 1024
PAGE: Final = 1000

_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CONTENT_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_STATUS: Final[tuple[tuple[type[OciError], int, str], ...]] = (
    (NotInRegistry, 404, "NAME_UNKNOWN"),
    (TooLarge, 413, "SIZE_INVALID"),
    (WrongDigest, 400, "DIGEST_INVALID"),
    (BadDocument, 400, "MANIFEST_INVALID"),
    (BadReference, 400, "NAME_INVALID"),
    (DiskFull, 507, "UNSUPPORTED"),
)

Answer = Callable[["Registry", Request, str, str], Awaitable[Response]]


@dataclass(frozen=True)
class Pusher:
    """Who may push; everybody may pull."""

    username: str
    password: str


class Registry:
    def __init__(self, store: Store, pusher: Pusher | None) -> None:
        self._store = store
        self._pusher = pusher

    async def answer(self, request: Request) -> Response:
        method, path = request.method, request.url.path.removeprefix("/v2/")
        try:
            if method not in ("GET", "HEAD") and not self._may_push(request):
                return _denied()
            if path in ("", "/v2"):
                return JSONResponse({})
            for pattern, methods in _ROUTES:
                found = pattern.fullmatch(path)
                if found is not None and method in methods:
                    return await methods[method](self, request, found[1], found[2])
            raise NotInRegistry("no such address")
        except OciError as error:
            return _failed(error)

    def _may_push(self, request: Request) -> bool:
        if self._pusher is None:
            return True
        pair = f"{self._pusher.username}:{self._pusher.password}".encode()
        wanted = "Basic " + base64.b64encode(pair).decode()
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), wanted.encode())

    async def manifest(self, request: Request, repository: str, version: str) -> Response:
        stored = await asyncio.to_thread(self._store.manifest, repository, version)
        headers = {
            "Docker-Content-Digest": stored.digest,
            "Content-Length": str(len(stored.data)),
        }
        body = b"" if request.method == "HEAD" else stored.data
        return Response(body, media_type=stored.media_type, headers=headers)

    async def put_manifest(self, request: Request, repository: str, version: str) -> Response:
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > MANIFEST_BYTES_MAX:
                raise TooLarge("the manifest is too large")
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        try:
            digest = await asyncio.to_thread(
                self._store.put_manifest, repository, version, data, kind
            )
        except NotInRegistry as error:
            raise BadDocument(f"push what it names first: {error}") from error
        return _created(f"/v2/{repository}/manifests/{digest}", digest)

    async def blob(self, request: Request, repository: str, digest: str) -> Response:
        path = await asyncio.to_thread(self._store.blob, repository, digest)
        size = path.stat().st_size
        begin, end = 0, size
        headers = {"Docker-Content-Digest": digest, "Accept-Ranges": "bytes"}
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked is not None:
            begin, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
            if begin >= end:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - begin)
        body = _nothing() if request.method == "HEAD" else _part(path, begin, end)
        return StreamingResponse(
            body,
            status_code=206 if asked is not None else 200,
            headers=headers,
            media_type="application/octet-stream",
        )

    async def begin(self, request: Request, repository: str, _rest: str) -> Response:
        query = request.query_params
        if (digest := query.get("mount")) and is_digest(digest):
            source = query.get("from", "")
            if await asyncio.to_thread(self._store.mount, repository, digest, source):
                return _created(f"/v2/{repository}/blobs/{digest}", digest)
        upload = await asyncio.to_thread(self._store.begin, repository)
        if digest := query.get("digest"):
            await self._receive(request, upload)
            await asyncio.to_thread(self._store.finish, repository, upload, digest)
            return _created(f"/v2/{repository}/blobs/{digest}", digest)
        return self._under_way(repository, upload)

    async def piece(self, request: Request, repository: str, upload: str) -> Response:
        await self._receive(request, upload)
        return self._under_way(repository, upload)

    async def finish(self, request: Request, repository: str, upload: str) -> Response:
        digest = request.query_params.get("digest", "")
        if not is_digest(digest):
            raise WrongDigest("name the blob's digest")
        await self._receive(request, upload)
        await asyncio.to_thread(self._store.finish, repository, upload, digest)
        return _created(f"/v2/{repository}/blobs/{digest}", digest)

    async def uploading(self, _request: Request, repository: str, upload: str) -> Response:
        self._store.uploading(upload)
        answer = self._under_way(repository, upload)
        answer.status_code = 204
        return answer

    async def tags(self, request: Request, repository: str, _rest: str) -> Response:
        found = await asyncio.to_thread(self._store.tags, repository)
        after, text = request.query_params.get("last", ""), request.query_params.get("n", "")
        count = (
            min(int(text), PAGE) if text.isascii() and text.isdigit() and len(text) < 9 else PAGE
        )
        rest = [tag for tag in found if tag > after]
        page = rest[:count]
        answer = JSONResponse({"name": repository, "tags": page})
        if page and len(rest) > count:
            following = f"/v2/{repository}/tags/list?n={count}&last={page[-1]}"
            answer.headers["Link"] = f'<{following}>; rel="next"'
        return answer

    async def _receive(self, request: Request, upload: str) -> None:
        """Adds the body to the upload; one that grows too large is refused with the byte too many, and forgotten."""
        path = self._store.uploading(upload)
        size = path.stat().st_size
        announced = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", ""))
        if announced is not None and int(announced[1]) != size:
            raise BadReference(f"{size} bytes are here; go on from there")
        with path.open("ab") as file:
            async for part in request.stream():
                size += len(part)
                if size > self._store.blob_bytes_max:
                    path.unlink(missing_ok=True)
                    raise TooLarge(f"a blob has {self._store.blob_bytes_max} bytes at most")
                await asyncio.to_thread(file.write, part)

    def _under_way(self, repository: str, upload: str) -> Response:
        size = self._store.uploading(upload).stat().st_size
        return Response(
            status_code=202,
            headers={
                "Location": f"/v2/{repository}/blobs/uploads/{upload}",
                "Range": f"0-{max(size - 1, 0)}",
                "Docker-Upload-UUID": upload,
            },
        )


_ROUTES: Final[tuple[tuple[re.Pattern[str], dict[str, Answer]], ...]] = (
    (
        re.compile(r"(.+)/manifests/([^/]+)"),
        {"GET": Registry.manifest, "HEAD": Registry.manifest, "PUT": Registry.put_manifest},
    ),
    (re.compile(r"(.+)/blobs/uploads/()"), {"POST": Registry.begin}),
    (
        re.compile(r"(.+)/blobs/uploads/([^/]+)"),
        {"PATCH": Registry.piece, "PUT": Registry.finish, "GET": Registry.uploading},
    ),
    (re.compile(r"(.+)/blobs/([^/]+)"), {"GET": Registry.blob, "HEAD": Registry.blob}),
    (re.compile(r"(.+)/tags/()list"), {"GET": Registry.tags}),
)


def make_app(store: Store, pusher: Pusher | None = None) -> Starlette:
    registry = Registry(store, pusher)
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

    async def answer(request: Request) -> Response:
        try:
            return await registry.answer(request)
        except ClientDisconnect:
            return Response(status_code=400)

    return Starlette(routes=[Route("/v2{rest:path}", answer, methods=methods)])


async def _part(path: Path, begin: int, end: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while begin < end:
            data = await asyncio.to_thread(file.read, min(READ_BYTES, end - begin))
            if not data:
                return
            begin += len(data)
            yield data


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _created(location: str, digest: str) -> Response:
    return Response(
        status_code=201, headers={"Location": location, "Docker-Content-Digest": digest}
    )


def _denied() -> Response:
    answer = _said(401, "UNAUTHORIZED", "pushing needs a name and password")
    answer.headers["WWW-Authenticate"] = 'Basic realm="archipelag"'
    return answer


def _failed(error: OciError) -> Response:
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return _said(status, code, str(error))
    return _said(400, "UNSUPPORTED", str(error))


def _said(status: int, code: str, text: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": text}]}, status_code=status)
