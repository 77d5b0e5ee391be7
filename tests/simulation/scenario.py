"""One run of a seed: set up, work under faults, calm, settle, check."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archipelag_coordinator.domain.job import Job

from simulation import checkers
from simulation.determinism import seeded
from simulation.faults import Nemesis, Weather, weather_of
from simulation.journal_of_errors import Listener
from simulation.loop import Livelock, Stuck, VirtualLoop
from simulation.trace import RING
from simulation.world import Size, World

WARM_UP_S: Final = 6.0
CHECK_EVERY_S: Final = 0.5
BROKEN_MAX: Final = 20
SETTLE_LOOK_S: Final = 2.0
SETTLE_MAX_S: Final = 900.0
"""Every job has ended by then, and everybody has let go: the longest wait in the policy, and some."""
CALM: Final = Weather(every_s=1e9, weights={"island_dies": 1.0})


@dataclass
class Outcome:
    seed: int
    profile: str
    broken: list[str] = field(default_factory=list)
    digest: str = ""
    virtual_s: float = 0.0
    real_s: float = 0.0
    events: int = 0
    figures: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    @property
    def replay(self) -> str:
        return f"make simulate SEED={self.seed} PROFILE={self.profile}"


def run(seed: int, profile: str, size: Size | None = None, *, words: bool = False) -> Outcome:
    """Never raises for what the seed brings about: everything that is wrong stands in `broken`."""
    outcome = Outcome(seed, profile)
    began = time.perf_counter()
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=base))
    loop = VirtualLoop()
    gc.disable()
    try:
        with seeded(seed), quiet_logs():
            loop.run(_run(seed, profile, size or Size(), folder, outcome, words=words))
    except (Livelock, Stuck) as stopped:
        outcome.broken.append(f"{type(stopped).__name__}: {stopped}")
    finally:
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
        gc.enable()
    outcome.events = loop.turns
    outcome.real_s = time.perf_counter() - began
    return outcome


async def _run(
    seed: int, profile: str, size: Size, folder: Path, outcome: Outcome, *, words: bool
) -> None:
    world = World(seed, size, folder, keep=None if words else RING)
    world.loop.connect = world.network.connect  # type: ignore[attr-defined]
    with listening(world, words=words):
        weather = CALM if profile == "calm" else weather_of(world.rng("weather"))
        nemesis = Nemesis(world, weather)
        await world.set_up(nemesis.prepare)
        watching = asyncio.ensure_future(_watch(world, outcome))
        await asyncio.sleep(WARM_UP_S)
        trouble = asyncio.ensure_future(nemesis.run())
        await _work(world)
        trouble.cancel()
        await asyncio.gather(trouble, return_exceptions=True)
        if profile != "calm":
            await nemesis.stop()
        await world.customers_gone()
        await _settle(world)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        async with world.database.quiet():
            outcome.broken += checkers.check(world, checkers.ALWAYS)
            outcome.broken += checkers.check(world, checkers.FINALLY)
        outcome.broken += world.broken
        outcome.broken = list(dict.fromkeys(outcome.broken))
        _count(world, outcome, nemesis)
        world.end()


async def _work(world: World) -> None:
    size, rng = world.size, world.rng("workload")
    between_s = size.workload_s / size.customers / (1 - size.burst)
    for _ in range(size.customers):
        if rng.random() >= size.burst:
            await asyncio.sleep(rng.expovariate(1 / between_s))
        world.send_customer(rng)
    await asyncio.sleep(5.0)


async def _watch(world: World, outcome: Outcome) -> None:
    """What must hold at every moment."""
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        async with world.database.quiet():
            if len(outcome.broken) < BROKEN_MAX:
                outcome.broken += checkers.check(world, checkers.ALWAYS)


async def _settle(world: World) -> None:
    until = world.loop.time() + SETTLE_MAX_S
    while world.loop.time() < until:
        await asyncio.sleep(SETTLE_LOOK_S)
        async with world.database.quiet():
            if checkers.settled(world):
                return


def _count(world: World, outcome: Outcome, nemesis: Nemesis) -> None:
    state = world.memory._state
    figures = outcome.figures
    for job in state.jobs:
        figures[job.status.value] = figures.get(job.status.value, 0) + 1
        if job.cause is not None and job.status.value == "failed":
            figures[job.cause.value] = figures.get(job.cause.value, 0) + 1
    figures["adoptions"] = world.database.watch.homes_moved
    figures["attempts"] = len(state.attempts)
    figures["failovers"] = sum(a.epoch > 1 and a.first_position > 0 for a in state.attempts)
    for receipt in world.receipts:
        name = f"reader {receipt.outcome}"
        figures[name] = figures.get(name, 0) + 1
        figures["answers asked anew"] = figures.get("answers asked anew", 0) + receipt.anew
    outcome.faults = nemesis.counts
    outcome.virtual_s = world.loop.time()
    outcome.digest = world.trace.digest
    outcome.trace = list(world.trace.ring)
    for job in state.jobs:
        if any(job.id in said for said in outcome.broken):
            outcome.trace += _history(world, job)


def _history(world: World, job: Job) -> list[str]:
    """What became of a job, for whoever reads a trace."""
    told = (
        f"{job.id} {job.cargo_slug} {job.status.value} cause={job.cause} epoch={job.epoch} "
        f"home={job.home} delivered={job.delivered} items={job.output_items} charged={job.charged}"
    )
    attempts = [
        f"  .{a.epoch} {a.status.value} cause={a.cause} {a.first_position}-{a.next_position} "
        f"island={a.island_id} relay={a.relay} {a.assigned_at:%M:%S.%f} to "
        f"{a.ended_at or a.assigned_at:%M:%S.%f} {a.reason[:80]}"
        for a in world.memory._state.attempts
        if a.job_id == job.id
    ]
    return [told, *attempts]


@contextmanager
def quiet_logs() -> Iterator[None]:
    """What the code under test logs goes to our listener alone, and to nobody once it has gone."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    logger.handlers[:] = [logging.NullHandler()]
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)


@contextmanager
def listening(world: World, *, words: bool) -> Iterator[None]:
    logger = logging.getLogger()
    listener = Listener(world.trace, words=words)
    world.unexpected = listener.unexpected
    logger.addHandler(listener)
    logger.setLevel(logging.INFO if words else logging.ERROR)
    try:
        yield
    finally:
        logger.removeHandler(listener)
