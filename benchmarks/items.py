"""What does it cost to store what running answers say, once a second, and to take one up again from there?

    python benchmarks/items.py [--rate 50] [--turns 5]

Starts a PostgreSQL of its own in a temporary folder. Each turn stores the items and marks of all streams as a
Coordinator does each second (`upkeep.save_marks`); the floor is one INSERT of the same bytes into a table without keys.
Taking up reads a whole answer back, beside a bare SELECT of as many bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from archipelag_contracts.ids import Epoch, JobId, Position
from archipelag_coordinator.adapters.postgres.migrate import migrate
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.ports import Mark, Said
from archipelag_coordinator.testing.builders import HOME, a_customer, a_job, a_stored_cargo
from archipelag_embedded.postgres import Postgres
from figures import Beside, Figure
from psycopg import AsyncConnection
from telling import state_all

STREAMS = (32, 256, 2_000)
TEXT = " token"
ANSWER_ITEMS = 2_000
HOW = (
    "What a Coordinator stores each second of what answers say, 50 items a stream, and reads to take one up; median of "
    "some turns. Limit: the same bytes, one INSERT without keys or one SELECT."
)


@dataclass(frozen=True)
class Cost:
    """Of one turn, in milliseconds."""

    wall_ms: float
    cpu_ms: float


async def cost(step: Callable[[int], Awaitable[None]], turns: int) -> Cost:
    """The median turn; the first one warms up."""
    walls, cpus = [], []
    for turn in range(turns + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        await step(turn)
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return Cost(median(walls[1:]), median(cpus[1:]))


async def measure(dsn: str, rate: int, turns: int) -> AsyncIterator[Figure]:
    async with (
        PostgresStore(dsn) as store,
        await AsyncConnection.connect(dsn, autocommit=True) as bare,
    ):
        user, key, _ = await a_customer(store)
        cargo = await a_stored_cargo(store)
        await bare.execute("CREATE TABLE floor (said bytea)")
        for streams in STREAMS:
            jobs = [
                a_job(user, key=key, cargo=cargo, status=JobStatus.RUNNING, epoch=Epoch(1))
                for _ in range(streams)
            ]
            async with store.begin() as tx:
                for job in jobs:
                    await tx.jobs.add(job)
            # As autovacuum does in a network that has stood for some minutes: plans made for empty tables are dropped.
            await bare.execute("ANALYZE jobs, job_items")
            names = [job.id for job in jobs]

            async def keep(turn: int, names: list[JobId] = names) -> None:
                items = Items(turn * rate, (TEXT,) * rate, tuple(range(rate)))
                said = [Said(name, Epoch(1), items) for name in names]
                marks = [Mark(name, Position(items.next), 10) for name in names]
                async with store.begin() as tx:
                    await tx.jobs.mark_delivered(marks)
                    await tx.items.keep(HOME, said)

            async def floor(_: int, streams: int = streams) -> None:
                rows = [(TEXT * rate + "    " * rate).encode()] * streams
                await bare.execute("INSERT INTO floor SELECT unnest(%s::bytea[])", [rows])

            ours, least = await cost(keep, turns), await cost(floor, turns)
            for figure in _figures(f"a second of {streams:,} streams", ours, least):
                yield figure

        whole = Items(0, (TEXT,) * ANSWER_ITEMS, tuple(range(ANSWER_ITEMS)))
        last = a_job(user, key=key, cargo=cargo, status=JobStatus.RUNNING, epoch=Epoch(1))
        async with store.begin() as tx:
            await tx.jobs.add(last)
            for first in range(0, ANSWER_ITEMS, rate):
                part = slice(first, first + rate)
                piece = Items(first, whole.texts[part], whole.tokens[part])
                await tx.items.keep(HOME, [Said(last.id, Epoch(1), piece)])

        async def take_up(_: int) -> None:
            async with store.begin() as tx:
                assert await tx.items.of_job(last.id) == whole

        async def read(_: int) -> None:
            cursor = await bare.execute("SELECT said FROM floor LIMIT %s", [ANSWER_ITEMS // rate])
            await cursor.fetchall()

        ours, least = await cost(take_up, turns), await cost(read, turns)
        for figure in _figures(f"taking up {ANSWER_ITEMS:,} items", ours, least):
            yield figure


def _figures(what: str, ours: Cost, least: Cost) -> Iterator[Figure]:
    for kind, own, bare in (
        ("", ours.wall_ms, least.wall_ms),
        (", own CPU", ours.cpu_ms, least.cpu_ms),
    ):
        yield Figure("items", f"{what}{kind}", own, "ms", HOW, limit=Beside("bare bytes", bare))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=50, help="items a second of each stream")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="archipelag-") as folder:
        Path(folder).chmod(0o711)
        server = Postgres(Path(folder) / "postgres")
        try:
            dsn = server.start()
            migrate(dsn)
            asyncio.run(state_all(measure(dsn, options.rate, options.turns)))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
