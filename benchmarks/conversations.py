"""How soon does the first item of a conversation's next turn come, if placement knows who remembers the last one?

    python benchmarks/conversations.py [--islands 200] [--talks 1500] [--load 0.4] [--prompt 20 1000]

A model in virtual time, in which the very code that places decides: no network is part of it. Islands are those of
`local_first.py`, liars about speed among them, and keep the last prompts that they read, eight for each slot; they say
so every ten seconds. A fifth of the talks have one turn, the others up to eight, each with time to read the answer.
`oracle` knows what every Island is, does and keeps at the moment, and takes the one where this turn begins soonest. Of
the last row's Islands a fifth say that they hold what they do not. `--prompt`: tokens of a talk's first turn.
"""

from __future__ import annotations

import argparse
import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from statistics import mean, quantiles

from archipelag_contracts.ids import Epoch, JobId
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.placement import Placement, Wanted
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.errors import NoPlacement
from archipelag_coordinator.testing.fakes import START
from local_first import DIGEST, SLUG, Machine, machine

KEPT_FOR_EACH_SLOT = 8
BEAT_S = 10.0
COUNTED_PER_TOKEN = 3
"""A prompt's upper bound is its bytes: so many for each token that an Island reads."""
WAYS = ("oracle", "remembering", "not remembering", "liars about memory")


Talk = tuple[tuple[int, ...], int, list[float]]
"""(tokens of the prompt in each turn, items of each answer, seconds until the next turn)"""


@dataclass(order=True)
class Turn:
    at: float
    number: int
    talk: int = field(compare=False)
    tokens: tuple[int, ...] = field(compare=False)
    """The prompt's length after each of its turns."""
    items: int = field(compare=False)

    @property
    def wanted(self) -> Wanted:
        prefixes = tuple(
            Prefix(self.talk * 100 + n, COUNTED_PER_TOKEN * tokens)
            for n, tokens in enumerate(self.tokens)
        )
        return Wanted(
            SLUG, DIGEST, COUNTED_PER_TOKEN * self.tokens[-1], self.items, prefixes=prefixes
        )


@dataclass
class Keeper:
    """An Island with what it keeps of each talk: how many tokens."""

    machine: Machine
    kept: OrderedDict[int, tuple[int, tuple[int, ...]]] = field(default_factory=OrderedDict)
    lies: bool = False

    def reads(self, turn: Turn) -> int:
        """Tokens that it would have to read."""
        return turn.tokens[-1] - self.kept.get(turn.talk, (0, ()))[0]

    def run(self, now: float, turn: Turn) -> tuple[float, float]:
        left = replace(turn.wanted, prompt_tokens=self.reads(turn))
        first, free = self.machine.run(now, left)
        names = tuple(prefix.name for prefix in turn.wanted.prefixes)
        self.kept.pop(turn.talk, None)
        self.kept[turn.talk] = (turn.tokens[-1], names)
        while len(self.kept) > KEPT_FOR_EACH_SLOT * self.machine.island.slots:
            self.kept.popitem(last=False)
        if self.lies:
            self.kept[turn.talk] = (0, names)
        return first, free

    def says(self) -> tuple[int, ...]:
        newest = reversed(self.kept.values())
        return tuple(name for _, names in newest for name in names)[:64]

    def begins(self, now: float, turn: Turn) -> float:
        """When the first item of this turn would be here."""
        before = list(self.machine.free_at)
        first, _ = self.machine.run(now, replace(turn.wanted, prompt_tokens=self.reads(turn)))
        self.machine.free_at = before
        return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--islands", type=int, default=200)
    parser.add_argument("--talks", type=int, default=1_500)
    parser.add_argument("--load", type=float, default=0.4)
    parser.add_argument("--prompt", type=int, nargs=2, default=(20, 1_000))
    options = parser.parse_args()
    print(
        "                      p50     p95    mean   ms to the first item, of later turns; not read"
    )
    for way in WAYS:
        took, unread = measure(
            way, options.islands, _talks(options.talks, *options.prompt), options.load
        )
        cuts = quantiles(took, n=20)
        print(f"{way:18} {cuts[9]:7.0f} {cuts[18]:7.0f} {mean(took):7.0f} {100 * unread:6.0f} %")


def measure(way: str, islands: int, talks: list[Talk], load: float) -> tuple[list[float], float]:
    """Waits for turns that are not the first of their talk, and the share of their tokens that was not read again."""
    keepers = [Keeper(machine(Random(number))) for number in range(islands)]
    if way == "liars about memory":
        for keeper in keepers[::5]:
            keeper.lies = True
    world = _World(keepers, remembers=way != "not remembering")
    tokens = unread = 0
    took = []
    for turn in _turns([one.machine for one in keepers], talks, load):
        if way == "oracle":
            keeper = min(keepers, key=lambda one: one.begins(turn.at, turn))
            left = keeper.reads(turn)
            wait_s = keeper.run(turn.at, turn)[0] - turn.at
        else:
            wait_s, left = world.run(turn)
        if len(turn.tokens) > 1:
            took.append(1000 * wait_s)
            tokens += turn.tokens[-1]
            unread += turn.tokens[-1] - left
    return took, unread / tokens


class _World:
    """A Coordinator's view of these Islands, which learns as one does."""

    def __init__(self, keepers: list[Keeper], *, remembers: bool) -> None:
        self._keepers = keepers
        self._remembers = remembers
        self._fleet = Fleet()
        self._fleet.load([one.machine.island for one in keepers])
        self._by_id = {one.machine.island.id: one for one in keepers}
        self._running: list[tuple[float, int, Keeper, Placement | None, Wanted, float, float]] = []
        self._beats = [(BEAT_S * n / len(keepers), n) for n in range(len(keepers))]
        heapq.heapify(self._beats)
        self._chance = Random(7)

    def run(self, turn: Turn) -> tuple[float, int]:
        """Seconds to the first item, and the tokens that were read for it."""
        self._pass(turn.at)
        wanted = turn.wanted if self._remembers else replace(turn.wanted, prefixes=())
        placed: Placement | None = None
        try:
            placed = self._fleet.choose(wanted, self._chance.random())
            keeper = self._by_id[placed.island_id]
        except NoPlacement:  # All are busy: it waits where a slot is free first.
            keeper = min(self._keepers, key=lambda one: one.machine.free_at[0])
        island, key = keeper.machine.island.id, (JobId(f"job_{turn.number}"), Epoch(1))
        self._fleet.assigned(island, key)
        self._fleet.accepted(island, key, wanted.prefixes)
        left = keeper.reads(turn)
        first, free = keeper.run(turn.at, turn)
        cached = 1 - left / turn.tokens[-1]
        ended = (free, turn.number, keeper, placed, wanted, 1000 * (first - turn.at), cached)
        heapq.heappush(self._running, ended)
        return first - turn.at, left

    def _pass(self, now: float) -> None:
        """All that happens until then: jobs end, and Islands are heard."""
        while self._running and self._running[0][0] <= now:
            _, number, keeper, placed, wanted, took_ms, cached = heapq.heappop(self._running)
            island = keeper.machine.island.id
            self._fleet.freed(island, (JobId(f"job_{number}"), Epoch(1)))
            if placed is not None:
                self._learn(placed, wanted, took_ms, cached)
        while self._remembers and self._beats[0][0] <= now:
            at, number = heapq.heappop(self._beats)
            heapq.heappush(self._beats, (at + BEAT_S, number))
            keeper = self._keepers[number]
            island = keeper.machine.island
            offers = (replace(island.offers[0], prefixes=keeper.says()),)
            heard = replace(island, offers=offers, seen_at=START + timedelta(seconds=1 + at))
            self._fleet.saw(heard, ())

    def _learn(self, placed: Placement, wanted: Wanted, took_ms: float, cached: float) -> None:
        """As `services/foresee.py` does."""
        island, prompt = placed.island_id, wanted.prompt_tokens
        expected = placed.remembered_tokens / prompt
        reckoned = placed.reckoned_ms + placed.reading_ms * (expected - cached)
        self._fleet.took(island, SLUG, max(0.0, reckoned), took_ms)
        if placed.held_tokens:
            self._fleet.kept(island, SLUG, cached * prompt / placed.held_tokens)


def _turns(machines: list[Machine], talks: list[Talk], load: float) -> Iterator[Turn]:
    """In order of time. How fast talks begin goes by what the fleet could do if it kept nothing."""
    chance = Random(2)
    work = [(tokens[n], items) for tokens, items, _ in talks for n in range(len(tokens))]
    read, made = mean(one for one, _ in work), mean(one for _, one in work)
    per_s = sum(
        one.island.slots
        / (read / one.prompt_tokens_per_s + one.first_item_ms / 1000 + made / one.items_per_s)
        for one in machines
    )
    begins, number = 0.0, 0
    turns = []
    for talk, (tokens, items, pauses) in enumerate(talks):
        begins += chance.expovariate(load * per_s * len(talks) / len(work))
        at = begins
        for n, pause_s in enumerate(pauses):
            turns.append(Turn(at, number, talk, tokens[: n + 1], items))
            at, number = at + pause_s, number + 1
    yield from sorted(turns)


def _talks(count: int, least: int, most: int) -> list[Talk]:
    chance = Random(1)
    return [_talk(chance, least * (most / least) ** chance.random()) for _ in range(count)]


def _talk(chance: Random, begins_with: float) -> Talk:
    turns = 1 if chance.random() < 0.2 else chance.randint(2, 8)
    items = int(20 * 10 ** chance.random())
    tokens, length = [], int(begins_with)
    for _ in range(turns):
        tokens.append(length)
        length += items + int(10 * 10 ** chance.random())
    return tuple(tokens), items, [chance.uniform(10, 60) for _ in range(turns)]


if __name__ == "__main__":
    main()
