"""How soon does the first item come by our placement, beside random, round robin and least connections?

    python benchmarks/local_first.py [--islands 200] [--jobs 4000] [--load 0.6]

A model in virtual time, in which the very code that places decides: no network is part of it. Islands differ in
distance, speed and slots; a fifth of them say they are four times as fast as they are. Jobs come by chance at a part
of what the fleet can do, the same ones for each way to place, and wait in line where an Island has no free slot. Ours
is told of each first item when the job has ended, as a Coordinator is; `without foresight` never is.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import mean, quantiles

from archipelag_contracts.ids import Epoch, JobId
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Island, Offer
from archipelag_coordinator.domain.placement import Wanted
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.builders import an_island

SLUG, DIGEST = "llm-chat", "sha256:one"
BOAST = 4.0


@dataclass
class Machine:
    """What an Island really is, and when its slots are free again."""

    island: Island
    distance_ms: float
    first_item_ms: float
    prompt_tokens_per_s: float
    items_per_s: float
    free_at: list[float] = field(default_factory=list)

    def busy(self, now: float) -> int:
        return sum(at > now for at in self.free_at)

    def run(self, now: float, wanted: Wanted) -> tuple[float, float]:
        """(when the first item comes to the Coordinator, when the slot is free)."""
        arrives = now + self.distance_ms / 2000
        begins = max(arrives, heapq.heappop(self.free_at))
        company = 1.0 + self.busy(begins) / self.island.slots
        work = wanted.prompt_tokens / self.prompt_tokens_per_s + self.first_item_ms / 1000
        first = begins + company * work
        free = first + wanted.output_items / self.items_per_s
        heapq.heappush(self.free_at, free)
        return first + self.distance_ms / 2000, free


Arrival = tuple[float, Wanted, float]
Chooser = Callable[[float, Wanted, float], Machine]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--islands", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=4_000)
    parser.add_argument("--load", type=float, default=0.6)
    options = parser.parse_args()
    print("                      p50     p95    mean   ms to the first item")
    for name in ("ours", "without foresight", "least connections", "round robin", "random"):
        took = measure(name, options.islands, options.jobs, options.load)
        cuts = quantiles(took, n=20)
        print(f"{name:18} {cuts[9]:7.0f} {cuts[18]:7.0f} {mean(took):7.0f}")


def measure(name: str, islands: int, jobs: int, load: float) -> list[float]:
    machines = [machine(Random(number)) for number in range(islands)]
    arrivals = _arrivals(Random(1), machines, jobs, load)
    if name in ("ours", "without foresight"):
        return _ours(machines, arrivals, learns=name == "ours")
    choose = _others(machines)[name]
    return [
        1000 * (choose(now, wanted, chance).run(now, wanted)[0] - now)
        for now, wanted, chance in arrivals
    ]


def _ours(machines: list[Machine], arrivals: list[Arrival], *, learns: bool) -> list[float]:
    fleet, took = Fleet(), []
    fleet.load([one.island for one in machines])
    by_id = {one.island.id: one for one in machines}
    running: list[tuple[float, int, Machine, float, float]] = []
    for number, (now, wanted, chance) in enumerate(arrivals):
        while running and running[0][0] <= now:
            _, ended, machine, reckoned, took_ms = heapq.heappop(running)
            fleet.freed(machine.island.id, (JobId(f"job_{ended}"), Epoch(1)))
            if learns:
                fleet.took(machine.island.id, SLUG, reckoned, took_ms)
        try:
            placed = fleet.choose(wanted, chance)
            machine, reckoned = by_id[placed.island_id], placed.reckoned_ms
        except NoPlacement:  # All are busy: it waits where a slot is free first.
            machine, reckoned = min(machines, key=lambda one: one.free_at[0]), 0.0
        fleet.assigned(machine.island.id, (JobId(f"job_{number}"), Epoch(1)))
        first, free = machine.run(now, wanted)
        took.append(1000 * (first - now))
        heapq.heappush(running, (free, number, machine, reckoned, took[-1]))
    return took


def _others(machines: list[Machine]) -> dict[str, Chooser]:
    turn = iter(range(1 << 60))
    return {
        "random": lambda _now, _wanted, chance: machines[int(chance * len(machines))],
        "round robin": lambda _now, _wanted, _chance: machines[next(turn) % len(machines)],
        "least connections": lambda now, _wanted, chance: min(
            machines[int(chance * len(machines)) :] + machines[: int(chance * len(machines))],
            key=lambda one: one.busy(now) / one.island.slots,
        ),
    }


def _arrivals(chance: Random, machines: list[Machine], jobs: int, load: float) -> list[Arrival]:
    wishes = [
        Wanted(SLUG, DIGEST, int(20 * 50 ** chance.random()), int(20 * 20 ** chance.random()))
        for _ in range(jobs)
    ]
    tokens, items = mean(w.prompt_tokens for w in wishes), mean(w.output_items for w in wishes)
    per_s = sum(
        one.island.slots
        / (tokens / one.prompt_tokens_per_s + one.first_item_ms / 1000 + items / one.items_per_s)
        for one in machines
    )
    now, arrivals = 0.0, []
    for wanted in wishes:
        now += chance.expovariate(load * per_s)
        arrivals.append((now, wanted, chance.random()))
    return arrivals


def machine(chance: Random) -> Machine:
    speed = 10 ** chance.uniform(-0.5, 0.7)
    boast = BOAST if chance.random() < 0.2 else 1.0
    distance_ms, slots = 5 * 50 ** chance.random(), chance.choice((1, 2, 4))
    first, prompt, items = 80 / speed, 600 * speed, 25 * speed
    offer = Offer(
        slug=SLUG,
        digest=DIGEST,
        state="warm",
        slots=slots,
        items_per_s=items * boast,
        first_item_ms=first / boast,
        prompt_tokens_per_s=prompt * boast,
    )
    island = an_island(offers=(offer,), slots=slots, load=0.0, broker_rtt_ms=distance_ms)
    return Machine(island, distance_ms, first, prompt, items, [0.0] * slots)


if __name__ == "__main__":
    main()
