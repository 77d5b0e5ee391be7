"""Streams written to the connection itself: whole, in order, bounded where nobody reads, and over when it is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from archipelag_coordinator.apps.api.envelope import Envelope
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.apps.api.relay_response import RelayResponse
from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.watch import Reader, watch
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import Api, served, until

ENDING = Ending(Cause.COMPLETED, finish_reason="stop", status="succeeded")
ASK = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LAST = b"\r\n0\r\n\r\n"


class Plain:
    """Frames that are the text itself."""

    def __init__(self, wrong_at: int = -1) -> None:
        self._wrong_at = wrong_at

    def opening(self) -> bytes:
        return b"["

    def items(self, text: str, position: int) -> bytes:
        if position == self._wrong_at:
            raise ValueError("a mistake in the frames")
        return text.encode()

    def news(self, reader: Reader) -> bytes:
        return b""

    def ending(self, reader: Reader, ending: Ending) -> bytes:
        return b"]"


class Server:
    """A real HTTP server, each of whose requests follows the same answer."""

    def __init__(self, api: Api, job: Job) -> None:
        found = api.scene.world.answers.get(job.id)
        assert found is not None
        self.answer: Answer = found
        self.frames: Any = Plain()
        self.keep_alive_s = 60.0
        self.pace = Pace()
        self._api, self._job = api, job
        self.port = 0
        self.lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        reader = await watch(self._api.scene.world, self._job.id)
        response = RelayResponse(
            reader, self.frames, first=[], headers={}, keep_alive_s=self.keep_alive_s
        )
        await response(scope, receive, send)

    def say(self, *texts: str) -> None:
        assert self.answer.accept(self.answer.next, texts, (), 0.0) is None

    async def ask(self, *, limit: int = 2**16) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        line = await asyncio.open_connection("127.0.0.1", self.port, limit=limit)
        self.lines.append(line)
        line[1].write(ASK)
        return line


@asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Server]:
    job = await api.scene.running()
    made = Server(api, job)
    made.answer.items_max = made.answer.size_bytes_max = 1 << 30
    async with served(Envelope(made.app, lambda: "req_1", pace=made.pace)) as url:
        made.port = int(url.rpartition(":")[2])
        try:
            yield made
        finally:
            for _, writer in made.lines:
                writer.close()


async def whole(reader: asyncio.StreamReader) -> bytes:
    """A chunked response's body."""
    raw = await reader.readuntil(LAST)
    _, _, rest = raw.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    return body


async def test_items_arrive_in_order_and_each_response_ends_for_itself(api: Api) -> None:
    async with serving(api) as server:
        lines = [await server.ask() for _ in range(3)]
        await until(lambda: server.answer.readers == 3)
        for number in range(50):
            server.say(f"~{number}")
            if number % 7 == 0:
                await asyncio.sleep(0.001)
        await until(lambda: server.answer.delivered == 50)
        server.answer.finish(ENDING)
        bodies = [await whole(reader) for reader, _ in lines]

    assert bodies == [b"[" + b"".join(b"~%d" % n for n in range(50)) + b"]"] * 3


async def test_an_end_takes_along_at_once_what_a_busy_process_held_back(api: Api) -> None:
    async with serving(api) as server:
        reader, _ = await server.ask()
        server.say("a")
        await until(lambda: server.answer.delivered == 1)
        server.pace.hold_s = 10 * PATIENCE_S
        server.say("b")
        server.answer.finish(ENDING)

        async with asyncio.timeout(PATIENCE_S):
            body = await whole(reader)

    assert (body, server.pace.held) == (b"[ab]", 0)


async def test_a_connection_serves_one_request_after_the_other(api: Api) -> None:
    async with serving(api) as server:
        reader, writer = await server.ask()
        writer.write(ASK)  # Before the first is answered.
        server.say("a")
        await until(lambda: server.answer.delivered == 1)
        server.answer.finish(ENDING)

        assert [await whole(reader), await whole(reader)] == [b"[a]", b"[a]"]


async def test_who_does_not_read_is_given_little_and_holds_up_nobody(api: Api) -> None:
    piece = "x" * 10_000
    async with serving(api) as server:
        slow, writer = await server.ask(limit=1)
        # Where the system may let a buffer grow as it likes, all of it would fit.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        await until(lambda: server.answer.readers == 1)
        for _ in range(2_000):  # 20 MB, far more than the system's buffers take
            server.say(piece)
            if server.answer.next % 100 == 0:
                await asyncio.sleep(0.001)
        stuck = server.answer.delivered
        quick, _ = await server.ask()
        await until(lambda: server.answer.delivered == 2_000)
        server.answer.finish(ENDING)
        slow._limit = 2**26  # type: ignore[attr-defined]
        bodies = [len(await whole(one)) for one in (_wide(quick), slow)]

    assert stuck < 1_500
    assert bodies == [2_000 * 10_000 + 2] * 2


def _wide(reader: asyncio.StreamReader) -> asyncio.StreamReader:
    reader._limit = 2**26  # type: ignore[attr-defined]
    return reader


async def test_a_client_that_leaves_closes_its_reader(api: Api) -> None:
    async with serving(api) as server:
        _, writer = await server.ask()
        await until(lambda: server.answer.readers == 1)
        writer.close()
        await until(lambda: server.answer.readers == 0)
        server.say("nobody hears this")

        assert server.answer.taken == 0


async def test_silence_is_filled_with_comments(api: Api) -> None:
    async with serving(api) as server:
        server.keep_alive_s = 0.01
        reader, _ = await server.ask()
        await reader.readuntil(b": keep-alive")
        await reader.readuntil(b": keep-alive")
        server.answer.finish(ENDING)

        assert (await reader.readuntil(LAST)).endswith(b"]" + LAST)


async def test_a_mistake_in_one_stream_ends_that_one_only(api: Api) -> None:
    async with serving(api) as server:
        sound, _ = await server.ask()
        await until(lambda: server.answer.readers == 1)
        server.frames = Plain(wrong_at=1)
        broken, _ = await server.ask()
        await until(lambda: server.answer.readers == 2)
        server.say("a")
        cut = await broken.read()
        await until(lambda: server.answer.readers == 1)
        server.answer.finish(ENDING)

        assert not cut.endswith(LAST), "half of an answer does not look whole"
        assert await whole(sound) == b"[a]"
