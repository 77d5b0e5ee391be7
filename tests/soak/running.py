"""One soak, to its verdict: a crowd, quiet, the long crowd with all that goes on, quiet, the books."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from archipelag_coordinator.adapters.postgres.store import PostgresStore

from tests.chaos.checkers import CHECKS, Books, broken_promises, open_books, unfinished
from tests.chaos.faults import Log
from tests.chaos.network import Hosts, Network, Plan, becomes

from . import gauges, leftovers
from .crowd import Crowd
from .gauges import Growth, Sample
from .mass import mass_of
from .outcome import (
    IMPATIENT_CHECKS,
    Figures,
    memory_does_not_grow,
    nobody_was_told_of_a_fault_of_ours,
    nothing_is_left,
    troubles,
)
from .tides import Tides

SETTLE_S: Final = 90.0
"""How long the last jobs may take to end."""
QUIET_S: Final = 60.0
"""And how long it may take to let go of what was used for them; answers are kept for 20 s here."""
WARM_S: Final = {"Coordinator": 150.0, "Island": 180.0, "NATS": 330.0, "PostgreSQL": 600.0}
"""Ages after which a part is warm. The broker keeps five minutes of answers in memory."""
POLICY: Final = {"attempts_max": "8", "answer_kept_s": "20"}
"""A stream may meet more than three Islands that die when one is struck every few seconds."""


@dataclass(frozen=True)
class Length:
    """How long and how much. Intervals in seconds; `rate`: items a second of each stream."""

    minutes: float = 30.0
    streams: int = 500
    rate: float = 4.0
    items: tuple[int, int] = (60, 180)
    islands: int = 4
    real: int = 100
    """Streams that the real Islands have room for together; those of the mass, which nobody strikes, carry the rest."""
    replace_every_s: float = 150.0
    strike_every_s: float = 15.0
    visit_every_s: float = 90.0
    sample_every_s: float = 10.0
    first_crowd_s: float = 20.0
    seed: int = 1

    def plan(self) -> Plan:
        slots = -(-self.real // self.islands)
        return Plan(hosts=(Hosts(self.islands, slots=slots),), proxied=False, policy=POLICY)


async def soak(network: Network, length: Length, say: Callable[[str], None]) -> Figures:
    """Everything it saw, with the promises that were broken."""
    chance = Random(length.seed)
    log = Log(say=lambda what: say(f"   {what}"))
    crowd = Crowd(network, log, chance, rate=length.rate, items=length.items)
    # Streams of whoever comes anew overlap for a moment with those that end.
    room = length.streams * 3 // 2
    async with mass_of(network, room, length.rate), _inside(crowd):
        say(f"-- the first crowd: {length.streams} streams, then quiet")
        await _crowd_for(crowd, length.streams, length.first_crowd_s)
        before = await _quiet(network, crowd, {})
        say(f"-- {length.minutes:g} minutes of {length.streams} streams")
        began = time.monotonic()
        clock = gauges.Processor()
        taken: list[Sample] = []
        async with (
            _watched(network, crowd, log, length, taken, began, say),
            Tides(network, log, chance).on(
                strike_every_s=length.strike_every_s,
                visit_every_s=length.visit_every_s,
                replace_every_s=length.replace_every_s,
            ),
        ):
            await _crowd_for(crowd, length.streams, length.minutes * 60)
        took_s = time.monotonic() - began
        processor = clock.cores(taken)
        say("-- quiet, then the books")
        after = await _quiet(network, crowd, before)
        return await _figures(
            network,
            crowd,
            log,
            length,
            taken,
            (began, took_s),
            leftovers.more(before, after),
            processor,
        )


@contextlib.asynccontextmanager
async def _inside(crowd: Crowd) -> AsyncIterator[None]:
    await crowd.enter()
    try:
        yield
    finally:
        await crowd.leave()


async def _crowd_for(crowd: Crowd, streams: int, seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await crowd.keep(streams, stop)


async def _quiet(network: Network, crowd: Crowd, before: dict[str, int]) -> dict[str, int]:
    """What is held once every job has ended: waits until it is not more than `before`, or for as long as may be."""
    url = network.database_url()

    async def settled() -> bool:
        customers = [account.customer for account in crowd.accounts]
        return sum([await asyncio.to_thread(unfinished, url, one) for one in customers]) == 0

    async def as_before() -> bool:
        now = await asyncio.to_thread(leftovers.held, network)
        return not any(nothing_is_left(leftovers.more(before, now)))

    await becomes(settled, SETTLE_S)
    if before:
        await becomes(as_before, QUIET_S, look_s=2.0)
    else:
        await asyncio.sleep(float(POLICY["answer_kept_s"]) + 10)
    return await asyncio.to_thread(leftovers.held, network)


@contextlib.asynccontextmanager
async def _watched(
    network: Network,
    crowd: Crowd,
    log: Log,
    length: Length,
    taken: list[Sample],
    began: float,
    say: Callable[[str], None],
) -> AsyncIterator[None]:
    """Samples every few seconds, and a line that says how it stands."""

    async def watch() -> None:
        positions = crowd.positions
        while True:
            await asyncio.sleep(length.sample_every_s)
            now = await asyncio.to_thread(gauges.samples, gauges.roots(network), began)
            taken.extend(now)
            rate = (crowd.positions - positions) / length.sample_every_s
            positions = crowd.positions
            say(_line(crowd, log, now, rate, time.monotonic() - began))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def _line(crowd: Crowd, log: Log, now: Sequence[Sample], rate: float, at_s: float) -> str:
    replaced = sum(1 for strike in log.strikes if strike.fault == "restart Coordinator")
    memory = ", ".join(f"{sample.part} {sample.memory_mb:.0f}" for sample in now)
    return (
        f"[{at_s:5.0f} s] {crowd.reading} streams, {rate:,.0f} items/s, {crowd.positions:,} items, "
        f"{crowd.seen.ended.total():,} answers, {replaced} replaced, {len(log.strikes) - replaced} "
        f"faults, {len(crowd.seen.complaints)} COMPLAINTS; MB: {memory}"
    )


# --- The books -----------------------------------------------------------------------------------------------------


async def _figures(
    network: Network,
    crowd: Crowd,
    log: Log,
    length: Length,
    taken: Sequence[Sample],
    times: tuple[float, float],
    more: dict[str, tuple[int, int]],
    processor: dict[str, float],
) -> Figures:
    prices = {slug: manifest.price for slug, manifest in network.manifests.items()}
    url = network.database_url()
    broken: dict[str, list[str]] = {}
    jobs: Counter[str] = Counter()
    attempts = charged = 0
    for account in crowd.accounts:
        books: Books = await asyncio.to_thread(open_books, url, account.customer, prices)
        checks = CHECKS if account.patient else IMPATIENT_CHECKS
        for name, found in broken_promises(books, account.readers.readings, checks).items():
            broken.setdefault(name, []).extend(found)
        jobs += Counter(job.status for job in books.jobs.values())
        attempts += sum(len(job.attempts) for job in books.jobs.values())
        charged += sum(job.charged for job in books.jobs.values())
    refusals = sum((reading.refusals for reading in crowd.readings()), Counter[str]())
    grown = _growth(taken)
    broken |= {
        "readers_saw_what_they_should": crowd.seen.complaints,
        "nobody_was_told_of_a_fault_of_ours": list(nobody_was_told_of_a_fault_of_ours(refusals)),
        "memory_does_not_grow": list(
            memory_does_not_grow((gauges.kind_of(one.part), one) for one in grown)
        ),
        "nothing_is_left": list(nothing_is_left(more)),
        "the_product_finds_its_ledger_right": await _drifted(url),
    }
    return Figures(
        began=times[0],
        took_s=times[1],
        streams=length.streams,
        seen=crowd.seen,
        positions=crowd.positions,
        strikes=log.strikes,
        samples=taken,
        growth=grown,
        refusals=refusals,
        breaks=sum(len(reading.breaks) for reading in crowd.readings()),
        jobs=jobs,
        attempts=attempts,
        charged=charged,
        sizes=await asyncio.to_thread(leftovers.sizes, network),
        processor=processor,
        troubles=await asyncio.to_thread(troubles, sorted((network.home / "logs").glob("*.log"))),
        broken={name: found for name, found in broken.items() if found},
    )


def _growth(taken: Sequence[Sample]) -> list[Growth]:
    parts = dict.fromkeys(sample.part for sample in taken)
    return [
        gauges.growth(
            part,
            [sample for sample in taken if sample.part == part],
            WARM_S[gauges.kind_of(part)],
        )
        for part in parts
    ]


async def _drifted(url: str) -> list[str]:
    """What the Coordinator's own audit of its ledger finds, as its doctor and its chore ask it."""
    async with PostgresStore(url, pool_max=2) as store, store.begin() as tx:
        return [
            f"{kept.id} holds {kept.balance} of which {kept.held} held, its entries say {built}"
            for kept, built in await tx.ledger.rebuild()
        ]
