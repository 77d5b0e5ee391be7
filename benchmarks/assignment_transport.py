"""How should an assignment travel: core request and reply, or a durable JetStream consumer for each Island?

    python benchmarks/assignment_transport.py [--islands 100 1000] [--assignments 10000]

Starts its own nats-server on loopback for each row. Both ways carry 1 KiB and end when the Island's yes has come back.
Prints the time to set up all Islands, the broker's memory for them, and what an assignment costs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import psutil
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

IN_FLIGHT = 32
PAYLOAD = b"x" * 1024
YES = b"yes"

Assign = Callable[[int], Awaitable[None]]


@dataclass
class Row:
    way: str
    islands: int
    setup_s: float
    memory_mib: float
    p50_ms: float
    p99_ms: float
    per_s: float
    server_us: float


async def request_reply(coordinator: Any, islands: Any, count: int) -> Assign:
    async def accept(message: Any) -> None:
        await message.respond(YES)

    for number in range(count):
        await islands.subscribe(f"arc.{number}.assign", cb=accept)
    await settle(islands)

    async def assign(number: int) -> None:
        reply = await coordinator.request(f"arc.{number}.assign", PAYLOAD, timeout=10)
        assert reply.data == YES

    return assign


async def durable_consumers(coordinator: Any, islands: Any, count: int) -> Assign:
    js = coordinator.jetstream(timeout=30)
    await js.add_stream(
        StreamConfig(
            name="ASSIGN",
            subjects=["arc.*.assign"],
            storage=StorageType.FILE,
            retention=RetentionPolicy.WORK_QUEUE,
        )
    )
    accepted: dict[int, asyncio.Future[None]] = {}

    async def taken(message: Any) -> None:
        accepted[int(message.subject.split(".")[1])].set_result(None)

    async def receive(message: Any) -> None:
        await message.ack()
        await islands.publish(f"yes.{message.subject.split('.')[1]}", YES)

    await coordinator.subscribe("yes.*", cb=taken)
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def consumer(number: int) -> None:
        async with gate:
            await islands.subscribe(f"deliver.{number}", cb=receive)
            await js.add_consumer(
                "ASSIGN",
                ConsumerConfig(
                    durable_name=f"island-{number}",
                    ack_policy=AckPolicy.EXPLICIT,
                    filter_subject=f"arc.{number}.assign",
                    deliver_subject=f"deliver.{number}",
                ),
            )

    made = await asyncio.gather(*map(consumer, range(count)), return_exceptions=True)
    if refused := [error for error in made if isinstance(error, Exception)]:
        raise SystemExit(f"  {count - len(refused)} durable consumers, then: {refused[0]}")
    await settle(coordinator)
    await settle(islands)

    async def assign(number: int) -> None:
        accepted[number] = asyncio.get_running_loop().create_future()
        await js.publish(f"arc.{number}.assign", PAYLOAD, timeout=10)
        await asyncio.wait_for(accepted[number], 10)

    return assign


async def settle(client: Any) -> None:
    """nats-py's first ping overtakes what it has not yet written."""
    await client.flush(30)
    await client.flush(30)


WAYS = {"request and reply": request_reply, "durable consumers": durable_consumers}


async def measure(way: str, count: int, assignments: int, port: int, server: Any) -> Row:
    process = psutil.Process(server.pid)
    url = f"nats://127.0.0.1:{port}"
    coordinator, islands = await nats.connect(url), await nats.connect(url)
    memory = process.memory_info().rss
    begin = time.perf_counter()
    assign = await WAYS[way](coordinator, islands, count)
    setup_s = time.perf_counter() - begin
    memory = process.memory_info().rss - memory

    for number in range(min(count, 50)):
        await assign(number)
    took: list[float] = []
    turn = iter(range(assignments))

    async def worker(lane: int) -> None:
        # A lane has Islands of its own, so that no Island has two assignments at once.
        mine = range(lane, count, IN_FLIGHT)
        for n in turn:
            at = time.perf_counter()
            await assign(mine[n % len(mine)])
            took.append(time.perf_counter() - at)

    before = sum(process.cpu_times()[:2])
    begin = time.perf_counter()
    await asyncio.gather(*(worker(lane) for lane in range(IN_FLIGHT)))
    seconds = time.perf_counter() - begin
    cpu = sum(process.cpu_times()[:2]) - before
    await coordinator.close()
    await islands.close()
    took.sort()
    return Row(
        way,
        count,
        setup_s,
        memory / (1 << 20),
        took[len(took) // 2] * 1000,
        took[len(took) * 99 // 100] * 1000,
        len(took) / seconds,
        cpu / len(took) * 1e6,
    )


def run(way: str, count: int, assignments: int) -> Row:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binary = shutil.which("nats-server") or str(Path(sys.executable).parent / "nats-server")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nats.conf")
        config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/js" }}\n')
        server = subprocess.Popen([binary, "-c", str(config), "-l", f"{folder}/log"])
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                time.sleep(0.05)
            return uvloop.run(measure(way, count, assignments, port, server))
        finally:
            server.terminate()
            server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--islands", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--assignments", type=int, default=10_000)
    options = parser.parse_args()
    if min(options.islands) < IN_FLIGHT:
        parser.error(f"--islands must be at least {IN_FLIGHT}")
    print(
        f"{'':18}{'islands':>9}{'setup s':>9}{'MiB':>8}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'per s':>8}{'broker µs each':>16}"
    )
    for count in options.islands:
        for way in WAYS:
            row = run(way, count, options.assignments)
            print(
                f"{row.way:18}{row.islands:>9}{row.setup_s:>9.2f}{row.memory_mib:>8.1f}"
                f"{row.p50_ms:>9.2f}{row.p99_ms:>9.2f}{row.per_s:>8.0f}{row.server_us:>16.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
