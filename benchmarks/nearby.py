"""How soon does a reader have the first token by our placement, on a network whose Islands are far and near?

    python benchmarks/nearby.py [--loads 0.5 0.8] [--seconds 2.5] [--rounds 2] [--warm 60]

A real Coordinator on real PostgreSQL and NATS. Ten synthetic Islands with two slots each stand 2 to 160 ms away (one
way), by lines of TCP that hold every byte back so long; at each distance one thinks 30 ms before its first token and
one 200 ms, and two of the slow ones say that they are four times as fast. Requests come by chance whether or not those
before them are done, at a part of what all slots can do: the same ones in the turn of each way to place. Namespaces of
the network would add nothing, since delays are what they cannot give without netem, which not every kernel has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import mean
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import far
import loadgen
import uvloop
from archipelag_contracts.signing import SigningKey
from archipelag_island.adapters.enrolment import GrpcEnrolment
from archipelag_island.domain.capability import Capabilities
from figures import Beside, Figure
from loadgen import percentile
from network import HERE, Bare, pairing_code, pin_tools, wait, warm, without_islands
from synthetic_island import SyntheticIsland
from telling import state
from ways import FILE, ORACLE, OURS, PEERS, TRUTH, WAYS

DELAYS_MS = (2, 10, 40, 80, 160)
THINKS_MS = (30, 200)
BOASTERS = ((2, 200), (40, 200))
BOAST = 4.0
SLOTS = 2
TOKENS, RATE = 16, 32.0
WARM_LOAD = 0.5
ARRIVALS_MAX = 100_000
ANSWER_S = 60.0
QUIET_S = 0.5
"""After each turn: reports arrive and slots are free again."""
NOTHING_SPECIAL = Capabilities("bench", "linux", "x86_64", 1, (), 1 << 30, 1 << 30, (), (), ())
PATH = "first token"
HOW = (
    "At the reader, on a real network with ten Islands 2 to 160 ms away, requests by chance at a part of what all "
    "slots can do, the same ones for each way by turns. Peer: the best of random, round robin and least connections, "
    "each among the Islands that may have the job; limit: the free Island whose first token comes soonest in truth."
)


@dataclass(frozen=True)
class Place:
    """Where an Island stands and how fast it is."""

    delay_ms: int
    think_ms: int

    @property
    def name(self) -> str:
        return f"{self.delay_ms} ms away, thinks {self.think_ms}"

    @property
    def first_item_ms(self) -> float:
        """In truth, from an assignment to the first token's arrival."""
        return 2 * self.delay_ms + self.think_ms

    @property
    def boast(self) -> float:
        return BOAST if (self.delay_ms, self.think_ms) in BOASTERS else 1.0


PLACES = [Place(delay, think) for delay in DELAYS_MS for think in THINKS_MS]


@dataclass
class Seen:
    """Of one way under one load."""

    first_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    given: Counter[Place] = field(default_factory=Counter)


Found = dict[tuple[float, str], Seen]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.8], metavar="SHARE")
    parser.add_argument("--seconds", type=float, default=2.5, help="of arrivals in a turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each way under each load")
    parser.add_argument("--warm", type=int, default=60, help="requests before, of each way")
    options = parser.parse_args()
    pin_tools(share=True)
    found: Found = defaultdict(Seen)
    with TemporaryDirectory() as folder:
        way = Path(folder) / "way"
        truth = json.dumps({place.name: place.first_item_ms for place in PLACES})
        told = {FILE: str(way), TRUTH: truth}
        with without_islands(coordinator=(str(HERE / "ways.py"),), more_env=told) as bare:
            uvloop.run(measure(bare, way.write_text, options, found))
    print("load                    p50   p95  mean ms  requests  given to Islands so far away")
    for (load, way), seen in found.items():
        print(line(load, way, seen))
        for error in sorted(set(seen.errors))[:3]:
            print(f"  ! {error[:200]}")
    state(figures_of(found))
    sys.exit(any(seen.errors for seen in found.values()))


def line(load: float, way: str, seen: Seen) -> str:
    times = (at(seen, 0.5), at(seen, 0.95), mean(seen.first_s or [math.nan]))
    told = "".join(f"{1e3 * one:6.0f}" for one in times)
    by_delay: Counter[int] = Counter()
    for place, given in seen.given.items():
        by_delay[place.delay_ms] += given
    shares = ", ".join(f"{delay} ms {by_delay[delay]}" for delay in DELAYS_MS)
    return f"{load:4} {way:17}{told}{len(seen.first_s):13}  {shares}"


def figures_of(found: Found) -> Iterator[Figure]:
    for load in sorted({load for load, _ in found}):
        for share in (0.5, 0.95):
            ms = {way: 1e3 * at(found[load, way], share) for way in WAYS}
            best = min(PEERS, key=lambda way: ms[way])
            what = f"p{100 * share:.0f}, {load:.0%} of all slots"
            peer, limit = Beside(best, ms[best]), Beside(ORACLE, ms[ORACLE])
            yield Figure(PATH, what, ms[OURS], "ms", HOW, peer, limit)


def at(seen: Seen, share: float) -> float:
    return percentile(seen.first_s, share)


async def measure(
    bare: Bare, go: Callable[[str], object], options: argparse.Namespace, found: Found
) -> None:
    """`go`: from then on, the Coordinator chooses in the way of that name."""
    async with AsyncExitStack() as stack:
        broker = urlsplit(bare.env["ARCHIPELAG_NATS_URL"])
        assert broker.port is not None
        islands = {}
        for number, place in enumerate(PLACES):
            code = pairing_code(bare.target) if number else bare.pairing_code
            port = await stack.enter_async_context(far.line(broker.port, place.delay_ms / 1000))
            islands[place] = await _enrolled(bare, place, code, f"nats://127.0.0.1:{port}")
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(island.run()) for island in islands.values()]
        stack.callback(lambda: [task.cancel() for task in tasks])
        await asyncio.to_thread(wait, lambda: warm(bare.target) == len(PLACES), bare.coordinator)
        for name in WAYS:
            go(name)
            await _turn(bare, _arrivals(Random(0), WARM_LOAD, count=options.warm), Seen())
        for number in range(options.rounds):
            for load in options.loads:
                arrivals = _arrivals(Random(1 + number), load, seconds=options.seconds)
                for name in _turned(WAYS, number):
                    go(name)
                    seen = found[load, name]
                    before = {place: island.begun for place, island in islands.items()}
                    await _turn(bare, arrivals, seen)
                    seen.given.update(
                        {place: one.begun - before[place] for place, one in islands.items()}
                    )


def _turned(ways: Sequence[str], by: int) -> list[str]:
    """Another one is first in each round."""
    first = by % len(ways)
    return [*ways[first:], *ways[:first]]


async def _enrolled(bare: Bare, place: Place, code: str, broker: str) -> SyntheticIsland:
    """It reaches the broker by its line only; enrolment is not what is measured."""
    key = SigningKey.generate()
    enrolment = GrpcEnrolment(f"127.0.0.1:{bare.grpc_port}", key)
    standing = await enrolment.enrol(code, place.name, NOTHING_SPECIAL)
    return SyntheticIsland(
        key,
        replace(standing, broker_urls=(broker,)),
        RATE,
        SLOTS,
        first_item_s=place.think_ms / 1000,
        boast=place.boast,
    )


def _arrivals(
    chance: Random, load: float, *, seconds: float = math.inf, count: int = ARRIVALS_MAX
) -> list[float]:
    """Seconds from the turn's start: as many as come in time, and no more than `count`."""
    held_s = [place.first_item_ms / 1000 + (TOKENS - 1) / RATE for place in PLACES]
    per_s = load * sum(SLOTS / one for one in held_s)
    came, now = [], chance.expovariate(per_s)
    while now < seconds and len(came) < count:
        came.append(now)
        now += chance.expovariate(per_s)
    return came


async def _turn(bare: Bare, arrivals: Sequence[float], seen: Seen) -> None:
    """Until all are answered and their slots are free."""
    idle: list[loadgen.Client] = []
    asked = loadgen.request(bare.target.model, bare.target.key, TOKENS)
    begun = time.perf_counter()

    async def one(due: float) -> None:
        await asyncio.sleep(due - time.perf_counter())
        client = idle.pop() if idle else await loadgen.connect(bare.target.port, loadgen.Counter())
        first, done = client.begin(asked)
        try:
            response = await asyncio.wait_for(done, ANSWER_S)
        except TimeoutError:
            seen.errors.append(f"no end within {ANSWER_S:g} s")
            client.close()
            return
        if (problem := loadgen.wrong(response, TOKENS)) is not None:
            seen.errors.append(problem)
            client.close()
            return
        seen.first_s.append(first.result() - due)
        idle.append(client)

    await asyncio.gather(*(one(begun + at_s) for at_s in arrivals))
    for client in idle:
        client.close()
    await asyncio.sleep(QUIET_S)


if __name__ == "__main__":
    main()
