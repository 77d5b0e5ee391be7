"""CPU per token of the response path alone: items put into Answers, through ASGI and uvicorn, to readers on loopback.

  python benchmarks/sse.py [--streams 1 32 256] [--rate 100] [--seconds 4]

The server process makes the items itself, on a timer whose cost counts too, and measures its own CPU time; the readers
are another process. `floor` is the same with a bare asyncio protocol that writes the same bytes. `events` fewer than
tokens means that items were merged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
import uvloop
from archipelag_coordinator.apps.api.direct import DirectProtocol
from archipelag_coordinator.apps.api.envelope import Envelope
from archipelag_coordinator.apps.api.relay_response import RelayResponse
from archipelag_coordinator.apps.api.sse import ChatFrames
from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.watch import Reader
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.worlds import a_scene
from figures import Beside, Figure
from telling import state

TEXT = " token"
HOW = (
    "CPU of one process that puts items into answers, on a timer whose cost counts, and sends them over HTTP to "
    "readers on loopback. Limit: a bare asyncio protocol that writes the same bytes."
)
COMMON = {
    "id": "chatcmpl-01h455vb4pex5vsknk084sn02q",
    "object": "chat.completion.chunk",
    "created": 1_700_000_000,
    "model": "small-model",
    "system_fingerprint": "fp_0123456789ab",
}
ENDING = Ending(Cause.COMPLETED, finish_reason="stop", status="succeeded")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Floor(asyncio.Protocol):
    """Writes prepared bytes as they are made; no HTTP but a head."""

    def __init__(self, waiting: list[Any]) -> None:
        self._waiting = waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")  # type: ignore[attr-defined]
        frames = ChatFrames(COMMON, include_usage=False)
        self._waiting.append((self._transport, frames.items(TEXT, 100)))


async def serve(path: str, told: Connection, streams: int, rate: float, seconds: float) -> None:
    scene = await a_scene()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    waiting: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answer = Answer(an_id("job"), items_max=10**9, size_bytes_max=10**9, now=0.0)  # type: ignore[arg-type]
        reader = Reader(scene.world, answer)
        waiting.append(answer)
        frames = ChatFrames(COMMON, include_usage=False)
        await RelayResponse(reader, frames, first=[], headers={})(scope, receive, send)

    server = task = None
    if path == "floor":
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Floor(waiting), sock=listener)
    else:
        config = uvicorn.Config(
            Envelope(app, lambda: "req_bench"),
            http=DirectProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))
    told.send(listener.getsockname()[1])
    while len(waiting) < streams:  # noqa: ASYNC110 - a benchmark may look now and then
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    before = cpu_s()
    made = await make(waiting, rate, seconds)
    await asyncio.sleep(0.2)
    told.send((made, cpu_s() - before))
    for one in waiting:
        if isinstance(one, Answer):
            one.finish(ENDING)
        else:
            one[0].close()
    if server is not None and task is not None:
        server.should_exit = True
        await task


async def make(waiting: list[Any], rate: float, seconds: float) -> int:
    """Each stream gets `rate` items a second, evenly apart from the others, as from Islands far from each other."""
    loop = asyncio.get_running_loop()
    texts, tokens = (TEXT,), (1,)
    begin, made, due = loop.time(), 0, 0
    total = int(rate * seconds) * len(waiting)
    while made < total:
        due = min(total, int((loop.time() - begin) * rate * len(waiting)) + 1)
        while made < due:
            one = waiting[made % len(waiting)]
            if isinstance(one, Answer):
                one.accept(len(one.texts), texts, tokens, 0.0)
            else:
                one[0].write(one[1])
            made += 1
        # A tick is a fifth of the time between two items of one stream, so that no stream gets two in one tick.
        await asyncio.sleep(1 / (5 * rate))
    return made


async def read(port: int, streams: int, told: Connection) -> None:
    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        events = 0
        while data := await reader.read(65536):
            events += data.count(b"data: {")
            if b"[DONE]" in data:
                break
        writer.close()
        return events

    told.send(sum(await asyncio.gather(*(one() for _ in range(streams)))))


def run_server(*given: Any) -> None:
    uvloop.run(serve(*given))


def measure(path: str, streams: int, rate: float, seconds: float) -> dict[str, Any]:
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=run_server, args=(path, there, streams, rate, seconds))
    server.start()
    port = here.recv()
    seen, seeing = multiprocessing.Pipe()
    readers = multiprocessing.Process(target=lambda: uvloop.run(read(port, streams, seeing)))
    readers.start()
    made, used_s = here.recv()
    events = seen.recv()
    readers.join(30)
    server.join(30)
    return {
        "path": path,
        "streams": streams,
        "tokens": made,
        "events": events,
        "cpu_us_per_token": round(used_s / made * 1e6, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--rate", type=float, default=100.0, help="items a second and stream")
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    multiprocessing.set_start_method("fork")
    found = []
    for streams in given.streams:
        floor = measure("floor", streams, given.rate, given.seconds)
        ours = measure("relay", streams, given.rate, given.seconds)
        print(json.dumps(floor))
        print(json.dumps(ours), flush=True)
        limit = Beside("bare protocol", floor["cpu_us_per_token"])
        what = f"a token, {streams:,} stream{'s' if streams > 1 else ''}"
        found.append(Figure("the way out", what, ours["cpu_us_per_token"], "µs", HOW, limit=limit))
    state(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
