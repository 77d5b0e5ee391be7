"""One scenario while it runs: its customer, readers, faults and chance; and what its books say afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from .checkers import CHECKS, Check, broken_promises, open_books, unfinished
from .faults import Log
from .network import Network, becomes
from .readers import Ask, Manners, Readers, fast_ask
from .report import Outcome

SETTLE_S: Final = 90.0
PROGRESS_S: Final = 5.0


@dataclass
class Run:
    """One scenario on one network: its readers, its faults, its chance, and where it says how far it is."""

    name: str
    network: Network
    customer: str
    readers: Readers
    chance: Random
    log: Log
    began: float = field(default_factory=time.monotonic)
    say: Callable[[str], None] = print

    def progress(self, of: int) -> str:
        done = sum(1 for reading in self.readers.readings if reading.done)
        given_up = sum(1 for reading in self.readers.readings if reading.error)
        return (
            f"[{self.name} {time.monotonic() - self.began:4.0f} s] {done:,} of {of:,} streams complete, "
            f"{self.readers.reading} being read, {self.readers.items:,} positions, "
            f"{len(self.log.strikes)} faults" + (f", {given_up} GIVEN UP" if given_up else "")
        )


@contextlib.asynccontextmanager
async def a_run(
    name: str,
    network: Network,
    seed: int,
    say: Callable[[str], None],
    manners: Manners | None = None,
) -> AsyncIterator[Run]:
    """A customer of its own, so that its books can be read by themselves."""
    chance = Random(f"{name} {seed}")
    customer, key = await network.customer(f"{name}-{seed}-{time.monotonic_ns()}")
    ports = [one.port for one in network.coordinators]
    readers = Readers(ports, key, chance, manners)
    run = Run(name, network, customer, readers, chance, Log(), say=say)
    run.log.say = lambda what: say(f"[{name} {time.monotonic() - run.began:4.0f} s] {what}")
    yield run


async def outcome_of(run: Run, checks: Sequence[Check] = CHECKS) -> Outcome:
    """Waits until every job is settled, then opens the books."""
    database, customer = run.network.database_url(), run.customer

    async def settled() -> bool:
        return await asyncio.to_thread(unfinished, database, customer) == 0

    await becomes(settled, SETTLE_S)
    prices = {slug: manifest.price for slug, manifest in run.network.manifests.items()}
    books = await asyncio.to_thread(open_books, database, customer, prices)
    broken = broken_promises(books, run.readers.readings, checks)
    took_s = time.monotonic() - run.began
    return Outcome(run.name, run.readers.readings, books, run.log.strikes, broken, took_s)


async def read_all(
    run: Run, asks: Sequence[Ask], at_once: int, *, first: int | None = None
) -> None:
    """All of these answers, never more than so many at once; tells how far it is."""
    left = iter(asks)

    async def one() -> None:
        for ask in left:
            await run.readers.read(ask, first=first)

    async def tell() -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            run.say(run.progress(len(asks)))

    telling = asyncio.create_task(tell())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(asks))):
                group.create_task(one())
    finally:
        telling.cancel()


def fast_asks(
    name: str,
    chance: Random,
    count: int,
    items: tuple[int, int],
    delay_ms: int,
    doors: Sequence[str] = ("chat",),
) -> list[Ask]:
    """Each with a seed and a length of its own; the doors by turns."""
    return [
        fast_ask(
            f"{name}-{n}",
            chance.getrandbits(48),
            chance.randint(*items),
            delay_ms,
            doors[n % len(doors)],
        )
        for n in range(count)
    ]


@contextlib.asynccontextmanager
async def struck(work: Callable[[asyncio.Event], Awaitable[None]]) -> AsyncIterator[None]:
    """Faults go on until the body is done; a fault that could not be made ends the body."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(_as_task(work, stop))
        try:
            yield
        finally:
            stop.set()


async def _as_task(work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    await work(stop)
