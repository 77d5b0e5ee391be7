"""Connections whose clients do not say what they want."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import served

ASK = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def hello(_: Any, receive: Any, send: Any) -> None:
    """Answers once the client has sent its body, and later than a client may take for its headers."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.5)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hi"})


async def answer_to(port: int, *pieces: bytes) -> list[bytes]:
    """What comes back after each piece; nothing more once the server has hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: list[bytes] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            for piece in pieces:
                writer.write(piece)
                said = b""
                while not said.endswith(b"hi"):
                    some = await reader.read(1000)
                    if not some:
                        return found
                    said += some
                found.append(said[:12])
    except ConnectionResetError:
        return found
    finally:
        writer.close()
    return found


@pytest.mark.parametrize(
    ("pieces", "answered"),
    [
        ([b""], 0),
        ([b"G"], 0),
        ([b"GET / HTTP/1.1\r\nHost: te"], 0),
        ([ASK, b""], 1),
        ([ASK, b"GET / HT"], 1),
        ([ASK, ASK, ASK], 3),
    ],
)
async def test_whoever_does_not_say_what_it_wants_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], answered: int
) -> None:
    monkeypatch.setattr(DirectProtocol, "headers_s", 0.2)
    async with served(hello) as url:
        found = await answer_to(int(url.rpartition(":")[2]), *pieces)

    assert found == [b"HTTP/1.1 200"] * answered


async def test_a_body_may_take_longer_than_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DirectProtocol, "headers_s", 0.2)
    async with served(hello) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\na")
        await asyncio.sleep(0.6)
        writer.write(b"b")
        async with asyncio.timeout(PATIENCE_S):
            said = await reader.readuntil(b"hi")
        writer.close()

    assert said.startswith(b"HTTP/1.1 200")
