"""What does being watched cost: a token, a job, and a scrape with thousands of streams?

    python benchmarks/observing.py [--jobs 400] [--streams 2000]

One process, no sockets. Answers of 200 chunks go through the chunk relay as they come from the broker; beside that
floor stand the same answers with all that is counted for a job, with traces that follow nobody, and with traces that
follow everybody. The rounds of all four are mixed, since machines are noisy. Then a scrape of everything that a
Coordinator tells about itself, with so many answers open; the broker and PostgreSQL, asked every five seconds at most
whoever scrapes, are left out, and so is the ledger, which is read once a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from archipelag_contracts import subjects
from archipelag_contracts.ids import Epoch, IslandId, JobId
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_contracts.traces import Tracer
from archipelag_coordinator.adapters.nats.chunk_relay import NatsChunkRelay
from archipelag_coordinator.adapters.postgres.figures import Books, ServerFigures
from archipelag_coordinator.adapters.telemetry.metrics import Metrics
from archipelag_coordinator.adapters.telemetry.own_figures import Innards, Written
from archipelag_coordinator.adapters.telemetry.spans import Spans
from archipelag_coordinator.clock import SystemClock
from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Usage
from archipelag_coordinator.domain.tally import Tally
from archipelag_coordinator.services.ports_of_traces import NoTraces, Traces
from archipelag_coordinator.testing.builders import HOME, START, a_job, an_attempt, an_island
from archipelag_coordinator.testing.fake_replay import FakeReplay
from archipelag_coordinator.testing.worlds import a_scene
from figures import Beside, Figure
from telling import state

CHUNKS = 200
ROUNDS = 15
SCRAPES = 20
ALONE = "the relay alone"
HOW = (
    f"CPU of one process, answers of {CHUNKS} tokens from the broker's bytes to the answer, rounds of all ways mixed; "
    "medians. Limit: the same with nothing counted and nothing followed."
)
NOWHERE = "http://127.0.0.1:9/v1/traces"


def answers(jobs: int, tally: Tally | None, traces: Traces) -> float:
    """CPU seconds for so many answers, from the first chunk to the last, with what is told of each job."""
    clock = SystemClock()
    relay = NatsChunkRelay(HOME, clock, FakeReplay("nothing is missing", 0.0))
    island = an_island()
    job = a_job().start(START)
    attempt = an_attempt(job, island, lease_until=START)
    ended = attempt.succeed(START, Usage(), attempt.first_position, b"")
    done = job.succeed(
        job.epoch, START, texts=(), finish_reason="stop", prompt_tokens=5, charged=job.reserved
    )
    payloads = [
        pb.Chunk(first=number, texts=[" token"], tokens=[number]).SerializeToString()
        for number in range(CHUNKS)
    ]
    began = time.process_time()
    for number in range(jobs):
        name = JobId(f"job_{number:026d}")
        with traces.request("POST", ""):
            with traces.span("authenticate"):
                pass
            traces.keep(name)
            with traces.span("place", name):
                pass
            with traces.span("assign", name, island_id=island.id):
                traces.carried()
        answer = Answer(name, items_max=CHUNKS, size_bytes_max=1 << 20, now=clock.monotonic())
        answer.begin(Epoch(1), clock.monotonic(), island.id)
        relay.open(answer, island.id, Epoch(1))
        subject = subjects.out(island.id, HOME, name, Epoch(1)).encode()
        for payload in payloads:
            relay.heard(subject, payload)
        assert answer.next == CHUNKS
        relay.close(IslandId(island.id), name, Epoch(1))
        with traces.span("settle", name, island_id=island.id):
            if tally is not None:
                tally.took(job.cargo_slug)
                for measured in (tally.placement, tally.assigning, tally.queue_wait):
                    measured.add(0.001)
                tally.ended(done, ended)
                tally.answered(answer, traces.example(name, 0.1))
                tally.settlement.add(0.001)
    return time.process_time() - began


def compare(jobs: int) -> Iterator[Figure]:
    # `requests.py` stands beside this file, and OpenTelemetry asks for a library of that name.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).parent]
    clock = SystemClock()
    quiet, loud = (Tracer("bench", NOWHERE, sampled=part) for part in (0.0, 1.0))
    loud._provider._active_span_processor._span_processors = ()  # What sends has a thread of its own.
    ways: dict[str, Callable[[], float]] = {
        ALONE: lambda: answers(jobs, None, NoTraces()),
        "counted": lambda: answers(jobs, Tally(), NoTraces()),
        "counted, traces that follow nobody": lambda: answers(jobs, Tally(), Spans(quiet, clock)),
        "counted, traces that follow all": lambda: answers(jobs, Tally(), Spans(loud, clock)),
    }
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            costs[name].append(way())
    floor = median(costs[ALONE])
    tokens = jobs * CHUNKS
    limit = Beside(ALONE, 1e6 * floor / tokens)
    for name, each in costs.items():
        if name == ALONE:
            continue
        print(f"{name}: +{1e6 * (median(each) - floor) / jobs:.0f} µs a job")
        yield Figure(
            "being watched",
            f"a token, {name}",
            1e6 * median(each) / tokens,
            "µs",
            HOW,
            limit=limit,
        )


async def scrape(streams: int) -> None:
    scene = await a_scene()
    for number in range(100):
        await scene.island(name=f"island {number}")
    for number in range(streams):
        answer = scene.world.answers.open(
            JobId(f"job_{number:026d}"), items_max=10, size_bytes_max=1_000, now=0.0
        )
        answer.running = True
        answer.readers = 1
    counts = ("commits", "rollbacks", "deadlocks", "blks_hit", "blks_read", "temp_bytes")
    server = dict.fromkeys((*counts, "connections", "connections_max", "size_bytes"), 1)

    async def figures() -> ServerFigures:
        return ServerFigures(server, 0.0, 0, time.time())

    async def books() -> Books:
        return Books({"user": 0}, 0, 0, 0, 0.0)

    innards = Innards(
        relay=dict,
        written=lambda: Written(0, 0, 0.0, 0.0),
        callers=dict,
        pool=dict,
        leads=lambda: True,
        connected=lambda: True,
        lag_s=lambda: 0.0,
    )
    metrics = Metrics(scene.world, innards, figures, books, None)
    cpus = []
    for _ in range(SCRAPES + 1):
        began = time.process_time()
        page, _ = await metrics.page("application/openmetrics-text; version=1.0.0")
        cpus.append(time.process_time() - began)
    lines = page.count(b"\n")
    each = 1000 * median(cpus[1:])
    print(
        f"a scrape with {streams} streams and 100 Islands: {each:.1f} ms of CPU, {lines} lines, {len(page)} bytes"
    )
    print(f"  every 15 s that is {each / 150:.3f} % of one core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--streams", type=int, nargs="*", default=[0, 2_000])
    given = parser.parse_args()
    state(compare(given.jobs))
    for streams in given.streams:
        asyncio.run(scrape(streams))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
