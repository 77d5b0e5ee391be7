"""A TCP proxy that we control: each party's line to each server goes through one, and can be cut, held, slowed.

It runs in a process of its own (`python -m tests.chaos.proxy PORT`), so that what it carries costs the readers nothing;
`Proxies` is how the test speaks to it: JSON lines over one connection, each answered.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

BUFFER_BYTES_MAX = 1 << 20
"""What one direction of one connection may hold back before its sender is no longer read."""
TICK_BYTES = 16 << 10


@dataclass
class Way:
    """What happens to bytes in one direction of a line."""

    held: bool = False
    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    """0: as fast as they come."""


@dataclass
class Line:
    """One listening port and the server behind it. `refused`: a connection is reset as soon as it comes."""

    name: str
    target: int
    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)
    refused: bool = False
    pairs: set[Pair] = field(default_factory=set)
    server: asyncio.AbstractServer | None = None
    port: int = 0

    def reset_all(self) -> None:
        for pair in tuple(self.pairs):
            pair.reset()

    def changed(self) -> None:
        for pair in tuple(self.pairs):
            pair.client.pump()
            pair.server.pump()


class End(asyncio.Protocol):
    """One end of a connection. What it reads waits in `queue` until it is due at the other end."""

    def __init__(self, pair: Pair, way: Way) -> None:
        self._pair = pair
        self._way = way
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._timer: asyncio.TimerHandle | None = None
        self._free_at = 0.0
        self._reading = True
        self._ended = False
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self._pair.connected(self)

    def data_received(self, data: bytes) -> None:
        way, other = self._way, self.other
        plain = not (way.held or way.delay_s or way.bytes_per_s)
        if plain and not self._queue and other is not None and other.transport is not None:
            other.transport.write(data)
            return
        now = asyncio.get_running_loop().time()
        due = now + way.delay_s
        if way.bytes_per_s:
            due = max(due, self._free_at) + len(data) / way.bytes_per_s
        self._free_at = max(due, self._free_at)
        self._queue.append((self._free_at, data))
        self._queued += len(data)
        self.pump()

    def pump(self) -> None:
        """Hands on what is due, and looks again when the next is."""
        other, loop = self.other, asyncio.get_running_loop()
        ready = other is not None and other.transport is not None and not self._way.held
        now = loop.time()
        # A line that is no longer slowed does not keep what was due later.
        slowed = bool(self._way.delay_s or self._way.bytes_per_s)
        while ready and self._queue and (not slowed or self._queue[0][0] <= now):
            _, data = self._queue.popleft()
            self._queued -= len(data)
            assert other is not None and other.transport is not None
            other.transport.write(data)
        if ready and not self._queue and self._ended:
            assert other is not None and other.transport is not None
            other.transport.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if ready and self._queue:
            self._timer = loop.call_at(self._queue[0][0], self.pump)
        self._read_on()

    def _read_on(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        wanted = not self._way.held and self._queued < BUFFER_BYTES_MAX and not self._full
        if wanted != self._reading:
            self._reading = wanted
            (self.transport.resume_reading if wanted else self.transport.pause_reading)()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other._full = True
            self.other._read_on()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._full = False
            self.other._read_on()

    def eof_received(self) -> bool:
        self.end()
        return True

    def end(self) -> None:
        """No more will come from here; what is still on its way arrives before the news of it does."""
        self._ended = True
        self.pump()

    def connection_lost(self, _: Exception | None) -> None:
        self._pair.lost(self)


class Pair:
    """A client's connection and ours to the server."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.client = End(self, line.up)
        self.server = End(self, line.down)
        self._dialling: asyncio.Task[None] | None = None

    def connected(self, end: End) -> None:
        if end is self.server:
            self.client.other, self.server.other = self.server, self.client
            self.client.pump()
            return
        self.line.pairs.add(self)
        if self.line.refused:
            self.reset()
            return
        self._dialling = asyncio.create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, "127.0.0.1", self.line.target)
        except OSError:
            self.reset()

    def reset(self) -> None:
        """As a line that breaks: neither side is told politely."""
        for end in (self.client, self.server):
            if end.transport is not None and not end.transport.is_closing():
                link = end.transport.get_extra_info("socket")
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.transport.abort()
        self.line.pairs.discard(self)

    def lost(self, end: End) -> None:
        other = self.server if end is self.client else self.client
        if self._dialling is not None and end is self.client:
            self._dialling.cancel()
        if other.transport is None or other.transport.is_closing():
            self.line.pairs.discard(self)
        else:
            # Where nothing gets through, neither does the news of an end.
            end.end()


class Switchboard:
    """All lines of one process."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    async def do(self, told: dict[str, Any]) -> dict[str, Any]:
        match told:
            case {"open": str(name), "target": int(target)}:
                return {"port": await self._open(name, target)}
            case {"set": list(names), **what}:
                for name in names:
                    self._set(self._lines[name], what)
                return {}
        return {"error": f"not understood: {told}"}

    async def _open(self, name: str, target: int) -> int:
        line = self._lines[name] = Line(name, target)
        loop = asyncio.get_running_loop()
        line.server = await loop.create_server(lambda: Pair(line).client, "127.0.0.1", 0)
        line.port = line.server.sockets[0].getsockname()[1]
        return int(line.port)

    def _set(self, line: Line, what: dict[str, Any]) -> None:
        for way, name in ((line.up, "up"), (line.down, "down")):
            given = what.get(name)
            if given is not None:
                way.held = bool(given.get("held", False))
                way.delay_s = float(given.get("delay_s", 0))
                way.bytes_per_s = float(given.get("bytes_per_s", 0))
        line.refused = bool(what.get("refused", False))
        if line.refused or what.get("reset"):
            line.reset_all()
        line.changed()


class Proxies:
    """The test's side: opens lines and says what shall happen on them. Each call waits for its answer, milliseconds."""

    def __init__(self, control_port: int) -> None:
        self._link = socket.create_connection(("127.0.0.1", control_port), timeout=10)
        self._read = self._link.makefile("rb")

    def open(self, name: str, target: int) -> int:
        """The port of a new line to the server at `target`."""
        return int(self._ask({"open": name, "target": target})["port"])

    def reset(self, *names: str) -> None:
        """Every connection breaks; new ones are let through."""
        self._ask({"set": names, "up": {}, "down": {}, "reset": True})

    def refuse(self, *names: str) -> None:
        """Every connection breaks, and every new one too."""
        self._ask({"set": names, "up": {}, "down": {}, "refused": True})

    def swallow(self, *names: str, up: bool = True, down: bool = True) -> None:
        """Nothing arrives any more and nobody is told; one direction alone where the other is False."""
        self._ask({"set": names, "up": {"held": up}, "down": {"held": down}})

    def slow(self, *names: str, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> None:
        """Everything arrives later, in both directions."""
        way = {"delay_s": delay_s, "bytes_per_s": bytes_per_s}
        self._ask({"set": names, "up": way, "down": way})

    def heal(self, *names: str) -> None:
        """As if nothing had been; what was held back arrives."""
        self._ask({"set": names, "up": {}, "down": {}})

    def close(self) -> None:
        self._read.close()
        self._link.close()

    def _ask(self, told: dict[str, Any]) -> dict[str, Any]:
        self._link.sendall(json.dumps(told).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._read.readline())
        assert "error" not in answer, answer
        return answer


async def serve(port: int, started: Callable[[], None] = lambda: None) -> None:
    """Until cancelled."""
    board = Switchboard()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer = await board.do(json.loads(line))
            except Exception as error:  # said to whoever asked, who then fails
                answer = {"error": repr(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(obey, "127.0.0.1", port)
    started()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
