"""Helper of the benchmarks: a line of TCP on which every byte is on its way for a while, as between distant machines.

Bytes wait in a queue of when each is due, so that a line holds back but does not throttle: many are on their way at
once, in order, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

READS_MAX = 4_096
"""On their way at once, in one direction; what comes beyond them waits at its sender."""
READ_BYTES = 1 << 16

Read = Callable[[int], Awaitable[bytes]]
Write = Callable[[bytes], Awaitable[None]]


@contextlib.asynccontextmanager
async def line(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port by which connections reach `port` on this machine; each byte comes `delay_s` later, either way."""
    joined: set[asyncio.Task[None]] = set()

    async def join(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        joined.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await _join(near, back, port, delay_s)
        joined.discard(task)
        back.transport.abort()

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in tuple(joined):
            one.cancel()
        await asyncio.gather(*joined)


async def _join(
    near: asyncio.StreamReader, back: asyncio.StreamWriter, port: int, delay_s: float
) -> None:
    far, there = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(near.read, _writing(there), delay_s))
            group.create_task(carry(far.read, _writing(back), delay_s))
    except* OSError:
        pass  # One side is gone, and the other with it.
    finally:
        there.transport.abort()


def _writing(writer: asyncio.StreamWriter) -> Write:
    async def write(data: bytes) -> None:
        if data:
            writer.write(data)
            await writer.drain()
        else:
            writer.write_eof()

    return write


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
