"""Helper of the benchmarks: the least a relay over NATS can cost in Python, HTTP → NATS → agent → NATS → HTTP.

No keys, no accounting, no placement, nothing durable: two small processes and a bare nats-server, to hold against ours.
The floor parses NATS in place; the same gateway by nats-py, a coroutine a message, is what one would write first.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from archipelag_embedded.nats import Nats
from archipelag_embedded.process import Process, free_port
from nats.aio.client import Client
from network import Target, on_one_core, wait_for

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BEFORE = (
    b'data: {"id":"chatcmpl-floor","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"floor","choices":[{"index":0,"delta":{"content":"'
)
AGENT_HERE = b"t.here"
AFTER = b'"},"finish_reason":null}]}\n\n'
TURN_S = 0.001
GOLDEN = 0.6180339887


class Broker(asyncio.Protocol):
    """Just enough of NATS: subscribe, publish once a turn of the loop, find the messages."""

    def __init__(self, heard: Callable[[bytes, bytes], None], subject: bytes) -> None:
        self.heard, self.subject = heard, subject
        self.buffer = b""
        self.waiting: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(
            b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB %b 1\r\n' % self.subject
        )

    def publish(self, subject: bytes, data: bytes) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.write_out)
        self.waiting.append(b"PUB %b %d\r\n%b\r\n" % (subject, len(data), data))

    def write_out(self) -> None:
        self.transport.write(b"".join(self.waiting))
        self.waiting.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            if buffer.startswith(b"MSG ", at):
                words = buffer[at + 4 : end].split(b" ")
                after = end + 2 + int(words[-1])
                if after + 2 > len(buffer):
                    break
                self.heard(words[0], buffer[end + 2 : after])
                at = after + 2
            else:
                if buffer.startswith(b"PING", at):
                    self.transport.write(b"PONG\r\n")
                at = end + 2
        self.buffer = buffer[at:]


class NatsPy:
    """The same by nats-py."""

    def __init__(self, heard: Callable[[bytes, bytes], None]) -> None:
        self.heard, self.client = heard, Client()
        self.publishing: set[asyncio.Task[None]] = set()

    def publish(self, subject: bytes, data: bytes) -> None:
        task = asyncio.create_task(self.client.publish(subject.decode(), data))
        self.publishing.add(task)
        task.add_done_callback(self.publishing.discard)

    async def message(self, message: Any) -> None:
        self.heard(message.subject.encode(), message.data)


async def bare(heard: Callable[[bytes, bytes], None], subject: bytes, nats_port: int) -> Broker:
    loop = asyncio.get_running_loop()
    _, broker = await loop.create_connection(lambda: Broker(heard, subject), "127.0.0.1", nats_port)
    return broker


async def by_nats_py(
    heard: Callable[[bytes, bytes], None], subject: bytes, nats_port: int
) -> NatsPy:
    broker = NatsPy(heard)
    await broker.client.connect(f"nats://127.0.0.1:{nats_port}")
    await broker.client.subscribe(subject.decode(), cb=broker.message)
    return broker


class Gateway:
    """Forwards each request under a number of its own and each message back to who asked."""

    def __init__(self) -> None:
        self.open: dict[bytes, Customer] = {}
        self.count = 0
        self.ready = False

    def heard(self, subject: bytes, data: bytes) -> None:
        customer = self.open.get(subject)
        if customer is None:
            self.ready |= subject == AGENT_HERE
            return
        if data:
            frame = BEFORE + data + AFTER
            customer.transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        else:
            customer.transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            del self.open[subject]

    async def run(self, port: int, nats_port: int, *, nats_py: bool) -> None:
        connect = by_nats_py if nats_py else bare
        self.broker: Broker | NatsPy = await connect(self.heard, b"t.*", nats_port)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Customer(self), "127.0.0.1", port, backlog=2048)
        await server.serve_forever()


class Customer(asyncio.Protocol):
    """One HTTP connection."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET "):
            self.buffer = b""
            status = b"200 OK" if self.gateway.ready else b"503 Not yet"
            self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 2\r\n\r\n{}" % status)
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = body[length:]
        self.gateway.count += 1
        subject = b"t.%d" % self.gateway.count
        self.gateway.open[subject] = self
        self.transport.write(HEAD)
        self.gateway.broker.publish(b"job", subject + b" " + body[:length])


class Agent:
    """Says ~0~1~2… under the number of each request, in time."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.due: list[tuple[float, bytes, int, int, float]] = []
        """When which stream says its next token, soonest first."""
        self.begun = 0

    def heard(self, _: bytes, data: bytes) -> None:
        subject, _, body = data.partition(b" ")
        self.broker.publish(subject, b"~0")
        items = json.loads(body)["max_tokens"]
        # Spread over the time between two tokens, as in the synthetic Island.
        self.begun += 1
        ahead = (self.begun * GOLDEN) % 1.0 / self.rate
        self.wait_turn(subject, 1, items, time.perf_counter() - ahead)

    def wait_turn(self, subject: bytes, number: int, items: int, since: float) -> None:
        if number == items:
            self.broker.publish(subject, b"")
        else:
            due = since + number / self.rate
            heapq.heappush(self.due, (due, subject, number, items, since))

    async def run(self, nats_port: int) -> None:
        self.broker = await bare(self.heard, b"job", nats_port)
        begun, turn = time.perf_counter(), 0
        while True:
            turn += 1
            await asyncio.sleep(max(0.0, begun + turn * TURN_S - time.perf_counter()))
            now = time.perf_counter()
            turn = max(turn, int((now - begun) / TURN_S))
            if turn % 100 == 0:
                self.broker.publish(AGENT_HERE, b"")
            while self.due and self.due[0][0] <= now:
                _, subject, number, items, since = heapq.heappop(self.due)
                self.broker.publish(subject, b"~%d" % number)
                self.wait_turn(subject, number + 1, items, since)


@contextmanager
def floor(*, rate: float, nats_py: bool = False) -> Iterator[Target]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="archipelag-floor-")))
        nats = Nats(home / "nats", jetstream=False)
        stack.callback(nats.stop)
        nats.start()
        port = free_port()

        def start(role: str) -> Process:
            script = str(Path(__file__))
            program = [sys.executable, script, role, str(port), str(nats.port), str(rate)]
            process = Process(role, program, log=home / f"{role}.log")
            stack.callback(process.stop)
            return process

        agent = start("agent")
        with on_one_core():
            gateway = start("gateway-by-nats-py" if nats_py else "gateway")
        wait_for(port, "/", gateway)
        assert nats.process is not None
        processes = {"gateway": gateway.pid, "nats": nats.process.pid, "agent": agent.pid}
        yield Target("nats-py" if nats_py else "floor", port, "nobody", processes=processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("role", choices=["gateway", "gateway-by-nats-py", "agent"])
    parser.add_argument("port", type=int)
    parser.add_argument("nats_port", type=int)
    parser.add_argument("rate", type=float)
    options = parser.parse_args()
    if options.role == "agent":
        uvloop.run(Agent(options.rate).run(options.nats_port))
    else:
        nats_py = options.role == "gateway-by-nats-py"
        uvloop.run(Gateway().run(options.port, options.nats_port, nats_py=nats_py))


if __name__ == "__main__":
    main()
