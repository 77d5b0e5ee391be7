"""Connections between parties: bytes in order and late, or nothing at all while two hosts are cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol
from weakref import WeakSet

from simulation.party import PARTY, Party

LATENCY_S: Final = (0.0002, 0.004)
SPIKE_CHANCE: Final = 0.002
SPIKE_S: Final = (0.05, 0.8)
AGAIN_S: Final = 0.25
"""How soon a segment that did not get through is sent again."""
WRITE_DEADLINE_S: Final = 5.0
"""So long a server tries to write to a client that cannot be reached."""


class Server(Protocol):
    """Who accepts connections at an address."""

    party: Party

    def accepted(self, line: Line) -> ServerEnd: ...


class ServerEnd(Protocol):
    """A server's end of one connection."""

    def received(self, data: bytes) -> None: ...
    def closed(self) -> None: ...


class Network:
    """Guards who reaches whom. Chance comes from `rng` alone."""

    def __init__(self, rng: Random, trace: Callable[[str], None]) -> None:
        self.rng = rng
        self.trace = trace
        self.servers: dict[str, Server] = {}
        self.lines: dict[int, Line] = {}
        self.latency_s: tuple[float, float] = LATENCY_S
        self.spikes = True
        self._count = 0
        self._cut: dict[tuple[str, str], int] = {}
        self._transports: WeakSet[LineTransport] = WeakSet()

    def end(self) -> None:
        """The world is over: what nobody closed, since its owner died before, is closed."""
        for transport in self._transports:
            transport.closing = True

    # --- Partitions ------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """Nothing goes from `one` to `other`. Counted: a pair cut twice must be healed twice."""
        self._cut[one, other] = self._cut.get((one, other), 0) + 1

    def heal(self, one: str, other: str) -> None:
        left = self._cut.get((one, other), 0) - 1
        if left > 0:
            self._cut[one, other] = left
        else:
            self._cut.pop((one, other), None)

    def heal_all(self) -> None:
        self._cut.clear()

    def reaches(self, one: str, other: str) -> bool:
        return (one, other) not in self._cut

    def delay(self) -> float:
        low, high = self.latency_s
        if self.spikes and self.rng.random() < SPIKE_CHANCE:
            return self.rng.uniform(*SPIKE_S)
        return self.rng.uniform(low, high)

    # --- Connections -----------------------------------------------------------------------------------------------

    async def connect(self, factory: Callable[[], Any], host: Any, port: Any) -> tuple[Any, Any]:
        """What the loop's `create_connection` does: the address is the server's name."""
        party = PARTY.get()
        assert party is not None, "somebody outside every party connects"
        while True:
            await asyncio.sleep(2 * self.delay())
            if not (self.reaches(party.host, host) and self.reaches(host, party.host)):
                await asyncio.sleep(AGAIN_S)
                continue
            server = self.servers.get(host)
            if server is None or server.party.dead:
                raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
            if server.party.frozen:
                await asyncio.sleep(AGAIN_S)
                continue
            break
        protocol = factory()
        self._count += 1
        line = Line(self, self._count, party, server, protocol)
        self.lines[line.number] = line
        self._transports.add(line.transport)
        protocol.connection_made(line.transport)
        line.begin()
        return line.transport, protocol

    def lines_of(self, party: Party) -> list[Line]:
        return [line for line in self.lines.values() if party in (line.client, line.server.party)]


class Line:
    """One connection. Either end closes it; both hear of it, the other one later, or never if it is cut off."""

    def __init__(
        self, network: Network, number: int, client: Party, server: Server, protocol: Any
    ) -> None:
        self.number = number
        self.network = network
        self.client = client
        self.server = server
        self.protocol = protocol
        self.transport = LineTransport(self)
        self.open = True
        self._client_told = False
        self._server_told = False
        self._up = Pipe(network, client, server.party, self._to_server)
        self._down = Pipe(network, server.party, client, self._to_client)
        self._down.on_stall = self.drop
        self.end: ServerEnd | None = None
        client.on_death.append(self._client_died)
        server.party.on_death.append(self._server_died)

    def begin(self) -> None:
        self.end = self.server.accepted(self)

    def write_up(self, data: bytes) -> None:
        if self.open:
            self._up.send(data, len(data))

    def write_down(self, data: bytes) -> None:
        """What the server says."""
        if self.open:
            self._down.send(data, len(data))

    def unsent_up(self) -> int:
        return self._up.waiting_bytes

    def unsent_down(self) -> int:
        return self._down.waiting_bytes

    def hold_down(self, hold: bool) -> None:
        self._down.hold(hold)

    def close_by_client(self) -> None:
        """After what was written before."""
        if self.open:
            self._up.send(None)
        self._tell_client()

    def drop(self) -> None:
        """Reset: whatever was on the way is lost."""
        if self.open:
            self.open = False
            self._up.clear()
            self._down.clear()
            self._tell_server()
            if self.network.reaches(self.server.party.host, self.client.host):
                self._tell_client()
            # Otherwise the client finds out by its own pings.
            self.network.lines.pop(self.number, None)

    def _client_died(self) -> None:
        self._client_told = True
        if self.open:
            self._up.clear()
            self._up.send(None)

    def _server_died(self) -> None:
        self._server_told = True
        if self.open:
            self._down.clear()
            self._down.send(None)

    def _to_server(self, data: bytes | None) -> None:
        if data is None:
            self.open = False
            self._down.clear()
            self._tell_server()
            self.network.lines.pop(self.number, None)
        elif self.open and self.end is not None:
            self.end.received(data)

    def _to_client(self, data: bytes | None) -> None:
        if data is None:
            self.open = False
            self._tell_client()
            self.network.lines.pop(self.number, None)
        elif self.open and not self.transport.closing:
            self.protocol.data_received(data)

    def _tell_client(self) -> None:
        if not self._client_told:
            self._client_told = True
            self.transport.closing = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._lost, context=self.client.context)

    def _lost(self) -> None:
        self.protocol.connection_lost(None)

    def _tell_server(self) -> None:
        if not self._server_told and self.end is not None:
            self._server_told = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self.end.closed, context=self.server.party.context)


class Pipe:
    """One direction of a connection."""

    def __init__(
        self, network: Network, source: Party, target: Party, deliver: Callable[[Any], None]
    ) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._deliver = deliver
        self._waiting: deque[tuple[float, Any, int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._stalled_since: float | None = None
        self.waiting_bytes = 0
        self.on_stall: Callable[[], None] | None = None

    def send(self, thing: Any, size: int = 0) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + self._network.delay()
        if self._waiting:
            at = max(at, self._waiting[-1][0])
        self._waiting.append((at, thing, size))
        self.waiting_bytes += size
        self._set_timer()

    def clear(self) -> None:
        self._waiting.clear()
        self.waiting_bytes = 0

    def hold(self, hold: bool) -> None:
        """The reader at the other end has enough for now."""
        self._held = hold
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is None and self._waiting and not self._held:
            loop = asyncio.get_running_loop()
            # Nobody's context: a wire goes on when a process at its end is frozen or dead.
            self._timer = loop.call_at(self._waiting[0][0], self._pump, context=NOBODY)

    def _pump(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._waiting and not self._network.reaches(self._source.host, self._target.host):
            if self._stalled_since is None:
                self._stalled_since = now
            if self.on_stall is not None and now - self._stalled_since > WRITE_DEADLINE_S:
                self.on_stall()
                return
            self._timer = loop.call_at(now + AGAIN_S, self._pump, context=NOBODY)
            return
        self._stalled_since = None
        while self._waiting and self._waiting[0][0] <= now and not self._held:
            _, thing, size = self._waiting.popleft()
            self.waiting_bytes -= size
            loop.call_soon(self._deliver, thing, context=self._target.context)
        self._set_timer()


def _nobody() -> Any:
    import contextvars

    context = contextvars.Context()
    context.run(PARTY.set, None)
    return context


NOBODY: Final = _nobody()


class LineTransport(asyncio.Transport):
    """A client's end of a Line, as asyncio's protocols and streams see it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self.closing = False

    def write(self, data: Any) -> None:
        if not self.closing and data:
            self._line.write_up(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self._line.unsent_up()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Writers of ours look at the size themselves."""

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._line.close_by_client()

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return not self.closing

    def pause_reading(self) -> None:
        self._line.hold_down(True)

    def resume_reading(self) -> None:
        self._line.hold_down(False)
