"""The proxy does to a line what it is told, and nothing else: a fault that is not made proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from archipelag_embedded.process import Process, free_port

from .parts import ROOT
from .proxy import Proxies

SOON_S = 5.0
NEVER_S = 0.3


@dataclass
class Bench:
    """A server that says everything again, and a line to it."""

    proxies: Proxies
    port: int
    heard: bytearray
    """What reached the server."""
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.opened.append(writer)
        return reader, writer


@pytest.fixture
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    serving: set[asyncio.StreamWriter] = set()
    heard = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                heard.extend(data)
                writer.write(data)
                await writer.drain()
        await gone(writer)
        serving.discard(writer)

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    control = free_port()
    log = tmp_path_factory.mktemp("proxy") / "proxy.log"
    program = [sys.executable, "-m", "tests.chaos.proxy", str(control)]
    process = Process("Proxy", program, log=log, cwd=ROOT)
    proxies = await _reach(control, process)
    bench = Bench(proxies, proxies.open("one", server.sockets[0].getsockname()[1]), heard)
    try:
        yield bench
    finally:
        for writer in bench.opened:
            await gone(writer)
        proxies.close()
        process.kill()
        server.close()
        for writer in tuple(serving):
            await gone(writer)


async def _reach(control: int, process: Process) -> Proxies:
    while True:
        try:
            return Proxies(control)
        except OSError:
            assert process.running, process.log_tail()
            await asyncio.sleep(0.02)


async def gone(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def said(reader: asyncio.StreamReader, count: int, timeout_s: float = SOON_S) -> bytes:
    async with asyncio.timeout(timeout_s):
        return await reader.readexactly(count)


async def test_what_is_swallowed_arrives_in_order_once_the_line_is_whole(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(b"one")
    assert await said(reader, 3) == b"one"

    bench.proxies.swallow("one")
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await said(reader, 3, NEVER_S)
    writer.write(b"three")
    bench.proxies.heal("one")

    assert await said(reader, 8) == b"twothree"


@pytest.mark.parametrize("up", [True, False])
async def test_one_direction_alone_can_be_swallowed(bench: Bench, up: bool) -> None:
    reader, writer = await bench.connect()
    writer.write(b"one")
    assert await said(reader, 3) == b"one"

    bench.proxies.swallow("one", up=up, down=not up)
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await said(reader, 3, NEVER_S)

    assert bytes(bench.heard) == (b"one" if up else b"onetwo")
    bench.proxies.heal("one")
    assert await said(reader, 3) == b"two"


async def test_a_refused_line_breaks_what_stands_and_what_comes(bench: Bench) -> None:
    reader, writer = await bench.connect()
    writer.write(b"one")
    assert await said(reader, 3) == b"one"

    bench.proxies.refuse("one")

    with pytest.raises(ConnectionResetError):
        await said(reader, 1)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await said((await bench.connect())[0], 1)
    bench.proxies.heal("one")
    reader, writer = await bench.connect()
    writer.write(b"two")
    assert await said(reader, 3) == b"two"


async def test_a_slow_line_delays_and_keeps_the_order(bench: Bench) -> None:
    reader, writer = await bench.connect()
    loop = asyncio.get_running_loop()
    bench.proxies.slow("one", delay_s=0.15)

    began = loop.time()
    for word in (b"one", b"two", b"three"):
        writer.write(word)
        await asyncio.sleep(0.01)

    assert await said(reader, 11) == b"onetwothree"
    assert loop.time() - began >= 0.3, "150 ms each way"


async def test_a_narrow_line_carries_so_many_bytes_a_second(bench: Bench) -> None:
    reader, writer = await bench.connect()
    loop = asyncio.get_running_loop()
    bench.proxies.slow("one", bytes_per_s=200_000)
    sent = bytes(range(256)) * 200

    began = loop.time()
    writer.write(sent)

    assert await said(reader, len(sent)) == sent
    assert loop.time() - began >= 0.2, "51,200 bytes are a quarter of a second"
