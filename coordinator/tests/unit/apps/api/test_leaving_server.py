"""How the server stops: a word to the others first, then one stream after another, and no error of it in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest
import uvicorn
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_coordinator.apps.api.envelope import Envelope
from archipelag_coordinator.apps.api.server import LeavingServer
from archipelag_coordinator.domain.tally import Tally
from archipelag_embedded.fixtures import PATIENCE_S

STREAMS_END_S = 0.2


class Endless:
    """Streams until its reader has gone."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await asyncio.wait([gone], timeout=0.01)
        self.left += 1


@pytest.fixture
async def listening() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Of the server; a thread of an earlier test may complain of its own."""
    return [one.getMessage() for one in caplog.records if one.name.startswith("uvicorn")]


async def read(port: int, pieces: list[bytes]) -> str:
    """How it ended."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        try:
            async with client.stream("GET", f"http://127.0.0.1:{port}/") as answer:
                async for piece in answer.aiter_bytes():
                    pieces.append(piece)
        except httpx.RemoteProtocolError:
            return "broken"
    return "whole"


async def stopping(
    app: Endless,
    leave: Callable[[], Awaitable[None]],
    listening: socket.socket,
    pieces: Sequence[list[bytes]],
) -> tuple[asyncio.Task[None], asyncio.Future[list[str]]]:
    """A server that everybody reads from, and that was told to stop: its task, and how its readers end."""
    config = uvicorn.Config(app, http=DirectProtocol, lifespan="off", log_config=None)
    server = LeavingServer(config, leave, STREAMS_END_S)
    serving = asyncio.create_task(server.serve([listening.dup()]))
    port = listening.getsockname()[1]
    ends = asyncio.gather(*(read(port, one) for one in pieces))
    while not all(pieces):  # noqa: ASYNC110 - it happens in the clients
        await asyncio.sleep(0.01)
    server.should_exit = True
    return serving, ends


async def test_others_hear_of_it_while_streams_go_on_and_none_ends_as_if_it_were_whole(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    app, port = Endless(), listening.getsockname()[1]
    pieces: list[list[bytes]] = [[] for _ in range(5)]
    told: list[tuple[int, bool]] = []

    async def leave() -> None:
        told.append((app.left, _takes(port)))

    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(PATIENCE_S):
            serving, ending = await stopping(app, leave, listening, pieces)
            listening.close()
            ends = await ending
            await serving

    assert told == [(0, False)], "before anybody was cut off, and when no more could come"
    assert ends == ["broken"] * 5 and app.left == 5
    assert errors_of(caplog) == []


async def test_nobody_is_cut_off_before_others_know_or_it_takes_too_long(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, told = asyncio.Event(), asyncio.Event()

    async def leave() -> None:
        await may_go.wait()
        told.set()

    async with asyncio.timeout(PATIENCE_S):
        serving, ending = await stopping(Endless(), leave, listening, [[]])
        cut_off, _ = await asyncio.wait([ending], timeout=5 * STREAMS_END_S)
        assert not cut_off, "others did not know yet"
        may_go.set()
        assert await ending == ["broken"] and told.is_set()
        await serving

        may_go.clear()
        monkeypatch.setattr("archipelag_coordinator.apps.api.server.HAND_ON_MAX_S", 0.0)
        serving, ending = await stopping(Endless(), leave, listening, [[]])
        assert await ending == ["broken"], "it took too long"
        may_go.set()
        await serving


async def test_on_a_busy_machine_everybody_is_cut_off_before_anything_is_cancelled(
    listening: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    app = Endless()
    pieces: list[list[bytes]] = [[] for _ in range(60)]

    async def leave() -> None: ...

    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(PATIENCE_S):
            serving, ending = await stopping(app, leave, listening, pieces)
            while not serving.done():
                time.sleep(0.02)  # noqa: ASYNC251 - somebody else has the processor
                await asyncio.sleep(0)
            ends = await ending

    assert ends == ["broken"] * len(pieces)
    assert errors_of(caplog) == []


async def test_a_server_that_nobody_uses_stops_at_once(listening: socket.socket) -> None:
    told: list[str] = []

    async def leave() -> None:
        told.append("left")

    config = uvicorn.Config(Endless(), http=DirectProtocol, lifespan="off", log_config=None)
    server = LeavingServer(config, leave, streams_end_s=3600.0)
    serving = asyncio.create_task(server.serve([listening]))
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:  # noqa: ASYNC110 - it happens in the server
            await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    assert told == ["left"]


async def test_a_client_that_leaves_in_its_own_request_is_nobodys_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from starlette.requests import Request

    async def app(scope: Any, receive: Any, _send: Any) -> None:
        await Request(scope, receive).body()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    tally = Tally()
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    with caplog.at_level(logging.INFO):
        await Envelope(app, new_id=lambda: "req", tally=tally)(scope, receive, send)

    assert (sent, dict(tally.requests), caplog.records) == ([], {499: 1}, [])


def _takes(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
