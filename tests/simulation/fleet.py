"""The fleet: a thousand Islands for a week, coming and going as home hosts do, with work in between.

Quiet time is jumped over: nothing runs and nobody waits, so that every timer and every sign of life moves on together.
What is dead does not move, so that it is found silent, and lost, as it would have been.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.ledger import AccountId, Transfer, user_account
from archipelag_coordinator.domain.policy import Policy
from archipelag_island.adapters import link
from archipelag_island.services import offer

from simulation import checkers
from simulation.customers import Receipt
from simulation.determinism import seeded, swapped
from simulation.loop import Livelock, Stuck, VirtualLoop
from simulation.scenario import Outcome, listening, quiet_logs
from simulation.world import Size, World

DAYS: Final = 7
ROUND_S: Final = 600.0
JOBS_A_ROUND: Final = 10
MOVES_A_WEEK: Final = 1.82
"""Of each host: 182 moves per 100 home hosts a week."""
AWAY_S: Final = (120.0, 12 * 3600.0)
IN_WORK: Final = 0.4
"""Share of the moves that happen while there is work; the others are found out later."""
DRAINED: Final = 0.3
ARCHIVE: Final = "archive"
SETTLE_S: Final = 400.0
LOOK_S: Final = 0.5
IDLE_S: Final = 3.0
"""So long nobody does anything but wait before that is jumped over; so long before its end all are awake."""
MEMORY_LOOK_S: Final = 120.0
PING_S: Final = 60
"""What idle Islands do most: they look at what their Cargos take, which is always the same here, and at their line."""
# A large fleet beats seldom; what is counted in heartbeats is longer by as much.
POLICY: Final = Policy(
    heartbeats_per_s_max=10.0,
    lease_s=360.0,
    queue_wait_batch_s=120.0,
    answer_kept_s=60.0,
)


def run_fleet(
    seed: int,
    islands: int,
    *,
    days: float = DAYS,
    tell: Callable[[str], None] | None = None,
    words: bool = False,
) -> Outcome:
    outcome = Outcome(seed, "fleet")
    began = time.perf_counter()
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=base))
    loop = VirtualLoop()
    size = Size(coordinators=3, islands=islands, policy=POLICY)
    try:
        seldom = swapped((offer, "MEMORY_LOOK_S", MEMORY_LOOK_S), (link, "PING_S", PING_S))
        with seeded(seed), quiet_logs(), seldom:
            fleet = Fleet(seed, size, folder, outcome, tell=tell)
            loop.run(fleet.live(days, words=words))
    except (Livelock, Stuck) as stopped:
        outcome.broken.append(f"{type(stopped).__name__}: {stopped}")
    finally:
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
    outcome.events = loop.turns
    outcome.real_s = time.perf_counter() - began
    return outcome


class Fleet:
    """One run. Figures are counted as jobs are archived: a week of them would slow the memory store down."""

    def __init__(
        self,
        seed: int,
        size: Size,
        folder: Path,
        outcome: Outcome,
        *,
        tell: Callable[[str], None] | None,
    ):
        self._seed = seed
        self._size = size
        self._folder = folder
        self._outcome = outcome
        self._tell = tell
        self._began = time.perf_counter()
        self._back_at: dict[int, float] = {}
        self._figures: Counter[str] = Counter()
        self._jumped_s = 0.0

    async def live(self, days: float, *, words: bool) -> None:
        self._world = world = World(self._seed, self._size, self._folder)
        self._rng = world.rng("fleet")
        world.loop.connect = world.network.connect  # type: ignore[attr-defined]
        world.network.spikes = False
        with listening(world, words=words):
            await world.set_up()
            await asyncio.sleep(30.0)
            rounds = int(days * 86_400 / ROUND_S)
            for number in range(rounds):
                await self._round(world.rng(f"round {number}"))
                if self._tell is not None and (number + 1) % 24 == 0:
                    self._say(number + 1, rounds)
                if len(self._outcome.broken) > 20:
                    break
            await self._end()

    async def _round(self, rng: Random) -> None:
        """Some work with some hosts going, then a jump to the next round with the others."""
        world = self._world
        self._come_back()
        moves = self._moves(rng)
        work = [world.send_customer(rng) for _ in range(JOBS_A_ROUND)]
        for _ in range(moves):
            if rng.random() < IN_WORK:
                await asyncio.sleep(rng.uniform(0.0, 1.0))
                self._leave(rng, at_work=True)
            else:
                self._leave(rng, at_work=False)
        await self._settle(work)
        self._archive()
        left = (world.rounds + 1) * ROUND_S - world.loop.time()
        world.rounds += 1
        if left > 0:
            self._jump(left)

    def _moves(self, rng: Random) -> int:
        a_round = self._size.islands * MOVES_A_WEEK * ROUND_S / (7 * 86_400)
        return int(a_round) + (rng.random() < a_round % 1)

    def _leave(self, rng: Random, *, at_work: bool) -> None:
        world = self._world
        here = [s for s, one in enumerate(world.islands) if one is not None and not one.stopping]
        if not here:
            return
        busy = [s for s in here if (w := world.islands[s].world) is not None and w.now.runs]  # type: ignore[union-attr]
        slot = rng.choice(busy if at_work and busy else here)
        island = world.islands[slot]
        assert island is not None
        self._figures["moves"] += 1
        self._figures["moves in work"] += slot in busy
        low, high = AWAY_S
        self._back_at[slot] = world.loop.time() + low * (high / low) ** rng.random()
        if rng.random() < DRAINED:
            island.stopping = True
            island.party.spawn(island.drain())
        else:
            world.kill_island(slot)

    def _come_back(self) -> None:
        now = self._world.loop.time()
        for slot, at in list(self._back_at.items()):
            if at <= now:
                del self._back_at[slot]
                self._world.kill_island(slot)
                self._world.start_island(slot)

    async def _settle(self, work: Sequence[asyncio.Task[Receipt]] = ()) -> None:
        """Until everybody has what they came for. Where all that is left is to wait for the end of leases of Islands
        that are gone, that time is jumped over, too."""
        world, awake_s, idle_s = self._world, 0.0, 0.0
        while awake_s < SETTLE_S:
            await asyncio.sleep(LOOK_S)
            awake_s += LOOK_S
            async with world.database.quiet():
                at_rest = self._at_rest()
                if at_rest and not checkers.every_job_ends(world) and all(t.done() for t in work):
                    return
                lease_s = self._lease_left_s() if at_rest else 0.0
                idle_s = idle_s + LOOK_S if lease_s > IDLE_S else 0.0
                if idle_s >= IDLE_S:
                    self._jump(lease_s - IDLE_S)
                    idle_s = 0.0
        self._outcome.broken += checkers.every_job_ends(world)

    def _lease_left_s(self) -> float:
        """How long until the first lease ends, where every job that is left was with an Island that is gone."""
        world = self._world
        state = world.memory._state
        alive = {one.host.id for one in world.islands if one is not None and not one.party.dead}
        left = []
        for job in state.jobs:
            if job.finished:
                continue
            attempt = state.attempts.get((job.id, job.epoch))
            if attempt is None or attempt.finished or attempt.island_id in alive:
                return 0.0
            left.append((attempt.lease_until - world.clock.now()).total_seconds())
        return min(left, default=0.0)

    def _at_rest(self) -> bool:
        """Nobody is at work or owes anything, so that time may be jumped over."""
        world = self._world
        for island in world.islands:
            if island is None or island.party.dead or island.world is None:
                continue
            if island.world.now.runs or island.stopping:
                return False
        reports = world.jetstream.streams.get("REPORTS")
        return reports is None or not reports.messages

    def _jump(self, seconds: float) -> None:
        """All signs of life that would have come are as old afterwards as they were before."""
        world = self._world
        world.loop.jump(seconds)  # type: ignore[attr-defined]
        self._jumped_s += seconds
        passed = timedelta(seconds=seconds)
        alive = {one.host.id for one in world.islands if one is not None and not one.party.dead}
        for island in world.memory._state.islands:
            if island.id in alive and island.seen_at is not None:
                world.memory._state.islands.put(
                    island.id, replace(island, seen_at=island.seen_at + passed)
                )
        homes = {one.home for one in world.coordinators if one is not None}
        for home, seen_at in world.memory._state.coordinators.items():
            if home in homes:
                world.memory._state.coordinators.put(home, seen_at + passed)
        world.memory._state.commit()
        world.database.watch.rolled_back()
        for one in world.coordinators:
            if one is None or one.world is None:
                continue
            for berth in one.world.fleet._berths.values():
                seen = berth.island.seen_at
                if berth.island.id in alive and seen is not None:
                    berth.island = replace(berth.island, seen_at=seen + passed)

    def _archive(self) -> None:
        """Checks what has ended, counts it, and takes it out of the way."""
        world, figures = self._world, self._figures
        state = world.memory._state
        outcome = self._outcome
        outcome.broken += checkers.check(world, checkers.ALWAYS)
        outcome.broken += checkers.check(world, OF_JOBS)
        outcome.broken += world.broken
        world.broken.clear()
        for job in list(state.jobs):
            if not job.finished:
                continue
            figures[f"jobs {job.status.value}"] += 1
            if job.status.value == "failed":
                figures[f"failed: {job.cause}"] += 1
            state.jobs.remove(job.id)
            state.reservations.remove(job.id)
        for attempt in list(state.attempts):
            if attempt.job_id not in state.jobs:
                figures["attempts"] += 1
                figures["failovers"] += attempt.epoch > 1 and attempt.first_position > 0
                state.attempts.remove((attempt.job_id, attempt.epoch))
        moved: Counter[AccountId] = Counter()
        for transfer in list(state.transfers):
            if transfer.id == ARCHIVE or (
                transfer.job_id is not None and transfer.job_id not in state.jobs
            ):
                for account, amount in transfer.entries.items():
                    moved[account] += amount
                state.transfers.remove(transfer.id)
                if transfer.id.startswith("charge:"):
                    world.archived_charges -= transfer.entries[user_account(world.user.id)]
        # One entry for all that was taken away, so that balances are still what their entries make.
        entries = {account: Ucredits(amount) for account, amount in moved.items() if amount}
        if entries:
            state.transfers.put(ARCHIVE, Transfer(ARCHIVE, entries, world.clock.now()))
        for table in (state.items, state.usage, state.pays):
            for key, _ in list(table.items()):  # type: ignore[attr-defined]
                if key[0] not in state.jobs:
                    table.remove(key)  # type: ignore[attr-defined]
        state.commit()
        world.database.watch.rolled_back()
        for receipt in world.receipts:
            figures[f"readers {receipt.outcome}"] += 1
        world.receipts.clear()
        world.customers.clear()

    async def _end(self) -> None:
        world, outcome = self._world, self._outcome
        await self._settle()
        self._archive()
        outcome.broken += checkers.keys_have_used_what_was_charged(world)
        outcome.broken += checkers.nothing_unexpected_was_logged(world)
        lost = sum(i.status is IslandStatus.LOST for i in world.memory._state.islands)
        self._figures["away at the end"] = len(self._back_at)
        self._figures["lost at the end"] = lost
        self._figures["seconds awake"] = int(world.loop.time() - self._jumped_s)
        outcome.figures = dict(self._figures)
        outcome.broken = list(dict.fromkeys(outcome.broken))
        outcome.virtual_s = world.loop.time()
        outcome.digest = world.trace.digest
        outcome.trace = list(world.trace.ring)
        world.end()

    def _say(self, done: int, of: int) -> None:
        assert self._tell is not None
        took = time.perf_counter() - self._began
        self._tell(f"round {done} of {of}, {took:.0f} s, {dict(self._figures)}")
        gc.collect()


OF_JOBS: Final = (
    checkers.users_pay_once_and_by_the_rule,
    checkers.only_holders_of_a_lease_are_paid_and_only_for_what_was_accepted,
    checkers.the_books_of_every_job_close,
    checkers.honest_islands_are_never_called_wrong,
    checkers.insurance_pays_only_what_it_must,
    checkers.completed_output_is_the_undisturbed_answer,
    checkers.readers_who_were_told_the_end_have_the_whole_answer,
    checkers.one_wish_is_paid_once,
)
