"""Helper of benchmarks and tests: a line of TCP on which every byte is on its way for a while, as between distant
machines, and that can be broken or silenced.

Bytes wait in a queue of when each is due, so that a line holds back but does not throttle: many are on their way at
once, in order, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable

READS_MAX = 4_096
"""On their way at once, in one direction; what comes beyond them waits at its sender."""
READ_BYTES = 1 << 16

Read = Callable[[int], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


class Line:
    """Connections to `target`'s port by way of `port`, on which each byte comes `way_s` later, either way. Whole at
    first; a test may break or silence it."""

    def __init__(self, target: Callable[[], int], way_s: float = 0.0) -> None:
        self._target = target
        self._way_s = way_s
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._broken = False
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def break_(self) -> None:
        """Every connection is reset, and every new one."""
        self._broken = True
        self._reset()

    def silence(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._flows.clear()

    def mend(self) -> None:
        """New connections are let through; what was held back arrives."""
        self._broken = False
        self._flows.set()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._reset()
        self._flows.set()
        for pair in tuple(self._pairs):
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def _reset(self) -> None:
        for writer in tuple(self._writers):
            link = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = asyncio.current_task()
        assert pair is not None
        self._pairs.add(pair)
        self._writers.add(writer)
        try:
            if not self._broken:
                await self._join(reader, writer)
        except OSError:
            pass  # The server is away, as a test may want it to be.
        finally:
            self._pairs.discard(pair)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _join(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        far, there = await asyncio.open_connection("127.0.0.1", self._target())
        self._writers.add(there)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(carry(near.read, self._writing(there), self._way_s))
                group.create_task(carry(far.read, self._writing(back), self._way_s))
        except* OSError:
            pass  # One side is gone, and the other with it.
        finally:
            self._writers.discard(there)
            there.transport.abort()

    def _writing(self, writer: asyncio.StreamWriter) -> Write:
        async def write(data: bytes) -> None:
            await self._flows.wait()
            if data:
                writer.write(data)
                await writer.drain()
            else:
                writer.write_eof()

        return write


@contextlib.asynccontextmanager
async def line(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port by which connections reach `port` on this machine; each byte comes `delay_s` later, either way."""
    one = Line(lambda: port, delay_s)
    await one.open()
    try:
        yield one.port
    finally:
        await one.close()


async def carry(
    read: Read,
    write: Write,
    delay_s: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """One direction, to its end, which travels as bytes do: as an empty piece."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(READS_MAX)

    async def arrive() -> None:
        data = b"begin"
        while data:
            due, data = await under_way.get()
            await sleep(max(0.0, due - now()))
            await write(data)

    async with asyncio.TaskGroup() as group:
        group.create_task(arrive())
        data = b"begin"
        while data:
            data = await read(READ_BYTES)
            await under_way.put((now() + delay_s, data))
