"""What does one chunk cost the Coordinator? Our own wire against nats-py and against the floor.

    python benchmarks/wire.py [--seconds 2] [--per-stream 200]

Starts its own nats-server on loopback, one publishing process, and one measured process a row. Prints CPU
microseconds of the measured process per message (user and system), for 1, 32 and 256 streams at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import uvloop
from archipelag_contracts import ids, subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.pb.archipelag.v1.job_pb2 import Chunk
from archipelag_contracts.signing import SigningKey
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.nats.connection import Identity
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.testing.fake_replay import FakeReplay
from figures import Beside, Figure
from telling import state

STREAMS = (1, 32, 256)
HOW = (
    "CPU of one process for each message of a token from a real NATS. Peer: nats-py in place of our own wire; limit: a "
    "protocol that finds the messages and does nothing with them."
)
KINDS = ("floor", "wire", "nats-py", "wire + relay", "nats-py + relay")
RELAY = RelayId(f"rly_{ids.encode(0, bytes(10))}")


def island(number: int) -> IslandId:
    return IslandId(f"isl_{ids.encode(number, bytes(10))}")


def job(number: int) -> JobId:
    return JobId(f"job_{ids.encode(number, bytes(10))}")


def subject(number: int) -> str:
    return subjects.out(island(number), RELAY, job(number), Epoch(1))


def nobody() -> Identity:
    return Identity(SigningKey.generate(), lambda: "", "_INBOX.bench", "bench")


class Floor(asyncio.Protocol):
    """Finds the frames and does nothing else: the least that Python can do."""

    def __init__(self) -> None:
        self.buffer = b""
        self.count = 0

    def connection_made(self, transport: Any) -> None:
        transport.write(b'CONNECT {"verbose":false}\r\n')
        transport.write(b"SUB %b 1\r\n" % subjects.output_of(RELAY).encode())
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        at = 0
        while (end := buffer.find(b"\r\n", at)) >= 0:
            if buffer.startswith(b"MSG ", at):
                after = end + 4 + int(buffer[buffer.rfind(b" ", at, end) + 1 : end])
                if after > len(buffer):
                    break
                self.count += 1
                at = after
            else:
                if buffer.startswith(b"PING", at):
                    self.transport.write(b"PONG\r\n")
                at = end + 2
        self.buffer = buffer[at:]


async def measure(kind: str, streams: int, seconds: float, port: int) -> dict[str, float]:
    """Runs in a process of its own."""
    url = f"nats://127.0.0.1:{port}"
    seen = [0]

    def count(_: bytes, __: bytes) -> None:
        seen[0] += 1

    relay = NatsChunkRelay(RELAY, SystemClock(), FakeReplay("nothing is missing", 0.0))
    answers = []
    for number in range(streams):
        answer = Answer(job(number), items_max=10**6, size_bytes_max=1 << 30, now=0.0)
        answer.begin(Epoch(1), 0.0)
        relay.open(answer, island(number), Epoch(1))
        answers.append(answer)

    floor: Floor | None = None
    if kind == "floor":
        loop = asyncio.get_running_loop()
        _, floor = await loop.create_connection(Floor, "127.0.0.1", port)
    elif kind.startswith("wire"):
        wire = Wire([url], nobody())
        await wire.open()
        if kind == "wire":
            wire.subscribe(subjects.output_of(RELAY), count)
        else:
            relay.attach(wire)
        await wire.flush()
    else:
        client = await nats.connect(url)

        async def heard(message: Any) -> None:
            if kind == "nats-py":
                seen[0] += 1
            else:
                relay.heard(message.subject.encode(), message.data)

        await client.subscribe(subjects.output_of(RELAY), cb=heard)
        await client.flush()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    before = time.process_time()
    await asyncio.sleep(seconds + 0.3)
    cpu = time.process_time() - before
    messages = floor.count if floor else seen[0] or sum(answer.next for answer in answers)
    assert not any(answer.attempt_end for answer in answers)
    return {"messages": messages, "us": cpu / max(1, messages) * 1e6}


async def publish(streams: int, seconds: float, per_stream: int, port: int) -> int:
    """Every stream says one token a turn; the streams are spread over the turn as real ones would be."""
    wire = Wire([f"nats://127.0.0.1:{port}"], nobody())
    await wire.open()
    names = [subject(number).encode() for number in range(streams)]
    turns, slices = int(seconds * per_stream), 5
    begin = time.perf_counter()
    for turn in range(turns):
        payload = Chunk(first=turn, texts=[" token"], tokens=[turn]).SerializeToString()
        for part in range(slices):
            for name in names[part::slices]:
                wire.publish(name, payload)
            due = begin + (turn + (part + 1) / slices) / per_stream
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await wire.flush()
    await wire.close()
    return turns * streams


def one(kind: str, streams: int, options: argparse.Namespace, port: int) -> tuple[float, bool]:
    child = subprocess.Popen(
        [
            *(sys.executable, __file__, "--role", kind, "--streams", str(streams)),
            *("--port", str(port), "--seconds", str(options.seconds)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdout.readline()
        child.stdin.write("go\n")
        child.stdin.flush()
        said = asyncio.run(publish(streams, options.seconds, options.per_stream, port))
        result = json.loads(child.stdout.readline())
    finally:
        child.kill()
        child.wait()
    return result["us"], result["messages"] == said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--per-stream", type=int, default=200, help="tokens a second")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        found = uvloop.run(measure(options.role, options.streams, options.seconds, options.port))
        print(json.dumps(found), flush=True)
        os._exit(0)  # nothing is left to tidy: the parent ends the broker
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = shutil.which("nats-server") or str(Path(sys.executable).parent / "nats-server")
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [binary, "-a", "127.0.0.1", "-p", str(port), "-l", f"{folder}/log"]
        )
        try:
            wait_for(port)
            print(f"CPU µs per message, {options.per_stream} messages/s a stream")
            print(f"{'':18}" + "".join(f"{n:>8} streams" for n in STREAMS))
            seen: dict[str, list[float]] = {}
            for kind in KINDS:
                row = [one(kind, streams, options, port) for streams in STREAMS]
                cells = "".join(f"{us:>15.1f}{' ' if whole else '!'}" for us, whole in row)
                print(f"{kind:18}{cells}", flush=True)
                seen[kind] = [us for us, _ in row]
            print("! : messages were lost")
            state(figures_of(seen))
        finally:
            server.terminate()
            server.wait()


def figures_of(seen: dict[str, list[float]]) -> Iterator[Figure]:
    for part, ours, theirs in (
        ("off the broker", "wire", "nats-py"),
        ("off the broker and into its answer", "wire + relay", "nats-py + relay"),
    ):
        for number, streams in enumerate(STREAMS):
            yield Figure(
                "the way in",
                f"a chunk {part}, {streams} at once",
                seen[ours][number],
                "µs",
                HOW,
                peer=Beside("nats-py", seen[theirs][number]),
                limit=Beside("frames alone", seen["floor"][number]),
            )


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("nats-server did not start")


if __name__ == "__main__":
    main()
