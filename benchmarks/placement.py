"""How long does it take to choose an Island out of 100, 1,000 and 10,000, beside looking at each?

    python benchmarks/placement.py [--fleets 100 1000 10000] [--jobs 2000]

Islands differ in all that placement goes by. Between two jobs, slots are taken and freed and heartbeats come in, as
they do; those are measured by themselves. In memory only: neither the database nor the broker has a part in it. Times
are CPU time of the one thread that does it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from random import Random
from statistics import median, quantiles

from archipelag_contracts.ids import Epoch, IslandId, JobId
from archipelag_coordinator.domain.fleet import AttemptKey, Fleet
from archipelag_coordinator.domain.island import Island, Offer
from archipelag_coordinator.domain.placement import NEAR_EQUAL, Placement, Wanted, place, score
from archipelag_coordinator.testing.builders import an_island
from archipelag_coordinator.testing.fakes import START

SLUG, DIGEST = "llm-chat", "sha256:one"
RUNNING = 50
SCANS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--fleets", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--jobs", type=int, default=2_000)
    options = parser.parse_args()
    print(
        "Islands  scan p50  choose p50    p99    max  faster  worst loss  heartbeat  slot  first job"
    )
    print(
        "               ms          ms     ms     ms              score         µs    µs         ms"
    )
    for size in options.fleets:
        print(measure(size, options.jobs))


def measure(size: int, jobs: int) -> str:
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
    chosen, slots, beats, scans = [], [], [], []
    worst = 0.0
    for number, wanted in enumerate(wishes):
        began = time.thread_time()
        placed = fleet.choose(wanted, chance.random())
        chosen.append(time.thread_time() - began)
        if number % max(1, jobs // SCANS) == 0:
            began = time.thread_time()
            place(wanted, fleet.candidates(SLUG, DIGEST), 0.5)
            scans.append(time.thread_time() - began)
            worst = max(worst, _loss(fleet, wanted, placed))
        key = (JobId(f"job_{number}"), Epoch(1))
        slots.append(_timed(lambda: fleet.assigned(placed.island_id, key)))  # noqa: B023 - called at once
        running.append((placed.island_id, key))
        if len(running) > RUNNING:
            fleet.freed(*running.pop(0))
        said = replace(
            next(heard), load=chance.random(), seen_at=START + timedelta(milliseconds=number)
        )
        beats.append(_timed(lambda: fleet.saw(said, [])))  # noqa: B023 - called at once
    assert worst <= NEAR_EQUAL + 1e-4
    return (
        f"{size:7}  {1e3 * median(scans):8.2f}  {1e3 * median(chosen):10.3f}"
        f"  {1e3 * quantiles(chosen, n=100)[98]:5.2f}  {1e3 * max(chosen):5.2f}"
        f"  {median(scans) / median(chosen):5.0f}×  {worst:10.3f}"
        f"  {1e6 * median(beats):9.1f}  {1e6 * median(slots):4.1f}  {1e3 * first:9.1f}"
    )


def _loss(fleet: Fleet, wanted: Wanted, placed: Placement) -> float:
    """By how much the best of all has a higher score."""
    free = [one for one in fleet.candidates(SLUG, DIGEST) if one.slots_free]
    return max(score(wanted, one) for one in free) - placed.score


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
