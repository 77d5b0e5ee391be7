"""A proxy that cuts connections at random byte places: `python tests/sdk/cutting_proxy.py --upstream URL --seed N`.

Its first line on standard output is the port on 127.0.0.1 that it listens on. Each connection lives for a number of
bytes that is drawn from the seed: mostly of what is answered, sometimes of what is asked. Then both its sides are cut,
half of the time as a line that breaks (a reset), half as a server that ends in good order too early. After `--cuts`
cuts it lets everything through. It ends, and says how often it cut, on SIGTERM, SIGINT or the end of its standard
input. What has piled up while a reader was away comes as one event: `--bytes-max` must leave room for the longest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import socket
import struct
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE_BYTES = 16 << 10
ASKED_SHARE = 0.1
"""How many of the cuts fall into the request."""


@dataclass
class Cutter:
    """Decides where each connection ends. `bytes_max`: as long as one may live."""

    seed: int
    bytes_max: int = 6000
    cuts_max: int = 1_000_000
    cuts: int = 0
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def place(self) -> tuple[bool, int] | None:
        """Whether it is the request that is cut, and after how many bytes; None: this one is let through."""
        if self.cuts >= self.cuts_max:
            return None
        if self._chance.random() < ASKED_SHARE:
            return True, self._chance.randrange(600)
        return False, self._chance.randrange(self.bytes_max)

    def hard(self) -> bool:
        return self._chance.random() < 0.5


class Connection:
    """One client and the server behind us. It ends when either side does, or at its place."""

    def __init__(self, cutter: Cutter, host: str, port: int) -> None:
        self._cutter = cutter
        self._upstream = host, port
        self._place = cutter.place()
        self._passed = {True: 0, False: 0}
        """Bytes so far: of the request, of the answer."""

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(*self._upstream)
        except OSError:
            to_client.close()
            return
        ways = [
            asyncio.create_task(self._pass(client, to_server, asked=True)),
            asyncio.create_task(self._pass(server, to_client, asked=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut = any(way.done() and not way.cancelled() and way.result() for way in ways)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if cut:
                self._cutter.cuts += 1
            hard = cut and self._cutter.hard()
            for writer in (to_client, to_server):
                _end(writer, hard=hard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asked: bool
    ) -> bool:
        """Hands bytes on to the end or to the place where it is cut: True."""
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE_BYTES):
                left = self._left(asked)
                if left is not None and len(data) >= left:
                    writer.write(data[:left])
                    await writer.drain()
                    return True
                self._passed[asked] += len(data)
                writer.write(data)
                await writer.drain()
        return False

    def _left(self, asked: bool) -> int | None:
        if self._place is None or self._place[0] is not asked:
            return None
        return max(0, self._place[1] - self._passed[asked])


def _end(writer: asyncio.StreamWriter, *, hard: bool) -> None:
    if hard:
        link = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@contextlib.asynccontextmanager
async def proxy(upstream: str, cutter: Cutter):  # type: ignore[no-untyped-def]
    """Within it, the port where every connection is cut."""
    where = urlsplit(upstream)
    assert where.hostname is not None and where.port is not None, upstream
    host, port = where.hostname, where.port
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await Connection(cutter, host, port).serve(reader, writer)
        finally:
            running.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="http://HOST:PORT")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--bytes-max", type=int, default=6000)
    parser.add_argument("--cuts", type=int, default=1_000_000)
    arguments = parser.parse_args()
    cutter = Cutter(arguments.seed, arguments.bytes_max, arguments.cuts)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    loop.add_reader(sys.stdin, lambda: sys.stdin.buffer.read1() or stop.set())
    async with proxy(arguments.upstream, cutter) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await stop.wait()
    sys.stdout.write(f"cuts {cutter.cuts}\n")


if __name__ == "__main__":
    asyncio.run(main())
