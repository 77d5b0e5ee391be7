"""Clients that send their headers at once and their body as slowly as they please."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from archipelag_coordinator.apps.api.app import ApiSettings, create_app
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_coordinator.apps.bodies import Times, in_pieces
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.domain.file import PIECE_BYTES
from archipelag_coordinator.services.files import sweep_files
from archipelag_embedded.fixtures import PATIENCE_S
from starlette.requests import Request

from .conftest import Api, served

QUICK = Times(whole_s=0.3, piece_bytes=1000, piece_s=0.3)
DRIP_S = 0.02
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


def request(path: str, *headers: str, host: str = "test") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def long(path: str, api: Api, *headers: str) -> bytes:
    return request(path, f"Authorization: Bearer {api.secret}", "Content-Length: 900000", *headers)


async def dripped(url: str, head: bytes, drop: bytes = b"x") -> bytes:
    """All that comes back to a client that sends a drop at a time until it is hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(head)
    answer = asyncio.create_task(_all(reader))
    async with asyncio.timeout(PATIENCE_S):
        while not answer.done():
            with suppress(ConnectionError):
                writer.write(drop)
            await asyncio.wait([answer], timeout=DRIP_S)
    writer.close()
    return answer.result()


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while some := await reader.read(65536):
            found += some
    return found


def quick(api: Api) -> Any:
    pages = create_pages(api.scene.world, PagesSettings(bodies=QUICK))
    return create_app(api.scene.world, settings=ApiSettings(bodies=QUICK), pages=pages)


@pytest.mark.parametrize("drop", [b"x", b""], ids=["drips", "is silent"])
async def test_json_that_does_not_come_is_refused_and_hung_up_on(api: Api, drop: bytes) -> None:
    async with served(quick(api)) as url:
        said = await dripped(url, long("/v1/chat/completions", api), drop)

    assert said.startswith(b"HTTP/1.1 408 ") and b"connection: close" in said.lower()
    assert b'"code":"too_slow"' in said and b"within 0.3 s" in said
    assert await api.jobs() == 0


async def test_json_in_chunks_is_bounded_alike(api: Api) -> None:
    head = request(
        "/v1/chat/completions",
        f"Authorization: Bearer {api.secret}",
        "Transfer-Encoding: chunked",
    )
    async with served(quick(api)) as url:
        said = await dripped(url, head, b"1\r\n \r\n")

    assert said.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("size", "kept"), [(0, 0), (PIECE_BYTES + 1, 1)])
async def test_a_file_that_drips_in_is_refused_and_swept_away(
    api: Api, size: int, kept: int
) -> None:
    head = long("/v1/files", api, "Content-Type: multipart/form-data; boundary=b")
    async with served(quick(api)) as url:
        said = await dripped(url, head + FORM + bytes(size))
    pieces = api.scene.world.blobs.pieces  # type: ignore[attr-defined]
    left = len(pieces)
    await sweep_files(api.scene.world, 100)

    assert said.startswith(b"HTTP/1.1 408 ") and b'"code":"too_slow"' in said
    assert (left, len(pieces)) == (kept, 0)


async def test_a_form_of_the_pages_is_bounded_alike(api: Api) -> None:
    host = api.scene.world.public_url.removeprefix("http://")
    kind = "Content-Type: application/x-www-form-urlencoded"
    origin = f"Origin: {api.scene.world.public_url}"
    head = request("/sign-in", kind, origin, "Content-Length: 60000", host=host)
    async with served(quick(api)) as url:
        said = await dripped(url, head)

    assert said.startswith(b"HTTP/1.1 408 ") and b"Too slow" in said
    assert b"connection: close" in said.lower()


async def test_a_body_that_nobody_reads_any_more_does_not_hold_the_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectProtocol, "rest", QUICK)
    head = request("/v1/chat/completions", "Content-Length: 900000")
    async with served(quick(api)) as url:
        said = await dripped(url, head)

    assert said.startswith(b"HTTP/1.1 401 ")


async def test_who_says_nothing_more_after_such_a_rest_is_hung_up_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectProtocol, "headers_s", 0.2)
    async with served(quick(api)) as url, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request("/v1/chat/completions", "Content-Length: 5"))
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        await _all(reader)
        writer.close()

    assert first.startswith(b"HTTP/1.1 401 ")


async def test_who_sends_the_rest_of_a_refused_body_soon_keeps_the_connection(api: Api) -> None:
    size = 300_000
    head = request("/v1/chat/completions", f"Content-Length: {size}")
    async with served(quick(api)) as url, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(head)
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"x" * size + b"GET /api/v1/health HTTP/1.1\r\nHost: test\r\n\r\n")
        rest = await reader.readuntil(b"HTTP/1.1 200 ")
        writer.close()

    assert first.startswith(b"HTTP/1.1 401 ") and rest


class Body:
    """A request whose client sends these, and takes so long of a clock that is turned by hand for each."""

    def __init__(self, *parts: tuple[float, int]) -> None:
        self.now = 0.0
        self._parts = list(parts)

    async def receive(self) -> dict[str, Any]:
        if not self._parts:
            return {"type": "http.request", "body": b"", "more_body": False}
        takes_s, size = self._parts.pop(0)
        self.now += takes_s
        return {"type": "http.request", "body": b"x" * size, "more_body": True}

    def pieces(self, within: Callable[[float], Any]) -> AsyncIterator[bytes]:
        request = Request({"type": "http", "headers": []}, self.receive)
        return in_pieces(request, Times(), clock=lambda: self.now, within=within)


@pytest.mark.parametrize(
    ("parts", "left_s"),
    [
        ([(10.0, 100)], [30, 20, 20]),
        ([(10.0, 20_000), (15.0, 20_000)], [30, 20, 30, 30]),
        ([(29.0, 30_720)] * 50, [30] * 52),
    ],
    ids=["counts down", "a piece is here", "for hours"],
)
async def test_each_piece_has_its_own_time(parts: list[Any], left_s: list[int]) -> None:
    given: list[float] = []

    def within(seconds: float) -> Any:
        given.append(seconds)
        return asyncio.timeout(None)

    body = Body(*parts)
    async for _ in body.pieces(within):
        body.now += 1000.0  # What we do with it is not the client's time.

    assert given == left_s
