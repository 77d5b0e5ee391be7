"""How long does it take to choose an Island out of 100, 1,000 and 10,000, beside a look at each and chance?

    python benchmarks/placement.py [--fleets 100 1000 10000] [--jobs 2000]

Islands differ in all that placement goes by. Between two jobs, slots are taken and freed and heartbeats come in, as
they do; those are measured by themselves. In memory only: neither the database nor the broker has a part in it. Times
are CPU time of the one thread that does it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import cycle
from random import Random
from statistics import mean, median, quantiles

from archipelag_contracts.ids import Epoch, IslandId, JobId
from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Island, Offer
from archipelag_coordinator.domain.placement import NEAR_EQUAL, Placement, Wanted, place, score
from archipelag_coordinator.testing.builders import an_island
from archipelag_coordinator.testing.fakes import START
from figures import Beside, Figure
from telling import state

SLUG, DIGEST = "llm-chat", "sha256:one"
RUNNING = 50
SCANS = 40
PATH = "placement"
HOW = (
    "CPU of the one thread, in memory, while slots are taken and heartbeats come in. Peer: looking at all of them; "
    "limit: one of the free ones by chance. Loss: by how much the best of all has a higher score, in the mean."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fleets", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--jobs", type=int, default=2_000)
    options = parser.parse_args()
    for size in options.fleets:
        state(measure(size, options.jobs))


@dataclass
class Took:
    """Seconds of CPU for each, and by how much the best of all would have had a higher score."""

    ours: list[float] = field(default_factory=list)
    scan: list[float] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)
    slots: list[float] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    loss_by_chance: list[float] = field(default_factory=list)


def measure(size: int, jobs: int) -> list[Figure]:
    chance = Random(size)
    islands = [_island(chance) for _ in range(size)]
    fleet = Fleet()
    fleet.load(islands)
    wishes = [_wanted(chance) for _ in range(jobs)]
    first = _timed(lambda: fleet.choose(wishes[0], chance.random()))
    for wanted in wishes:  # Every length of prompt was asked for before.
        fleet.choose(wanted, chance.random())
    running: list[tuple[IslandId, AttemptKey]] = []
    heard = cycle(islands)
    took = Took()
    for number, wanted in enumerate(wishes):
        began = time.thread_time()
        placed = fleet.choose(wanted, chance.random())
        took.ours.append(time.thread_time() - began)
        if number % max(1, jobs // SCANS) == 0:
            _beside(fleet, wanted, placed, chance, took)
        key = (JobId(f"job_{number}"), Epoch(1))
        took.slots.append(_timed(lambda: fleet.assigned(placed.island_id, key)))  # noqa: B023 - called at once
        running.append((placed.island_id, key))
        if len(running) > RUNNING:
            fleet.freed(*running.pop(0))
        said = replace(
            next(heard), load=chance.random(), seen_at=START + timedelta(milliseconds=number)
        )
        took.beats.append(_timed(lambda: fleet.saw(said, [])))  # noqa: B023 - called at once
    assert max(took.loss) <= NEAR_EQUAL + 1e-4
    print(
        f"{size} Islands: a heartbeat {1e6 * median(took.beats):.1f} µs, a slot taken "
        f"{1e6 * median(took.slots):.1f} µs, a Cargo's first job {1e3 * first:.1f} ms, "
        f"the slowest choice {1e3 * max(took.ours):.2f} ms, the worst loss {max(took.loss):.3f}"
    )
    return _figures(f"{size:,} Islands", took)


def _beside(fleet: Fleet, wanted: Wanted, placed: Placement, chance: Random, took: Took) -> None:
    """The same job by a look at all, and by chance among those that may take it."""
    began = time.thread_time()
    best = place(wanted, fleet.candidates(SLUG, DIGEST), 0.5)
    took.scan.append(time.thread_time() - began)
    free = [one for one in fleet.candidates(SLUG, DIGEST) if one.slots_free]
    began = time.thread_time()
    any_of_them = chance.choice(free)
    took.chance.append(time.thread_time() - began)
    top = max(best.score, *(score(wanted, one) for one in free))
    took.loss.append(top - placed.score)
    took.loss_by_chance.append(top - score(wanted, any_of_them))


def _figures(fleet: str, took: Took) -> list[Figure]:
    def ms(taken: list[float]) -> float:
        return 1e3 * median(taken)

    def p99_ms(taken: list[float]) -> float:
        return 1e3 * quantiles(taken, n=100)[98]

    def beside(of: Callable[[list[float]], float]) -> tuple[Beside, Beside]:
        return Beside("scan of all", of(took.scan)), Beside("by chance", of(took.chance))

    lost = Beside("by chance", mean(took.loss_by_chance))
    return [
        Figure(PATH, f"a choice p50, {fleet}", ms(took.ours), "ms", HOW, *beside(ms)),
        Figure(PATH, f"a choice p99, {fleet}", p99_ms(took.ours), "ms", HOW, *beside(p99_ms)),
        Figure(PATH, f"loss of score, {fleet}", mean(took.loss), "score", HOW, lost),
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _wanted(chance: Random) -> Wanted:
    return Wanted(SLUG, DIGEST, int(10 * 800 ** chance.random()), 200)


def _island(chance: Random) -> Island:
    offer = Offer(
        slug=SLUG,
        digest=DIGEST,
        state="warm" if chance.random() < 0.8 else "available",
        startable=True,
        start_ms=chance.uniform(50, 5_000),
        slots=chance.choice((2, 4, 8)),
        items_per_s=chance.uniform(5, 150),
        first_item_ms=chance.uniform(10, 400),
        prompt_tokens_per_s=chance.uniform(50, 5_000),
        determinism_class=chance.choice(("avx2", "avx512", "neon")),
    )
    return an_island(
        offers=(offer,),
        slots=8,
        load=chance.random(),
        broker_rtt_ms=chance.uniform(1, 200),
    )


if __name__ == "__main__":
    main()
