"""Customers and Islands who do anything at any time, one act after another, over any store.

Each act is a method that takes small numbers, so that a state machine or a seed can choose them. `check` says what
must hold after each.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import Epoch
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import (
    INSURANCE,
    ISSUANCE,
    Transfer,
    owner_account,
)
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.pricing import charge
from archipelag_coordinator.domain.settlement import prompt_tokens_of
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import StaleAttempt
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import expire_job, failover
from archipelag_coordinator.services.ports import Refused, Tx, Unreachable
from archipelag_coordinator.services.track import ReportIn, track
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.books import broken_promises, due_of
from archipelag_coordinator.testing.memory_store import MemoryStore
from archipelag_coordinator.testing.worlds import Scene, a_scene

PRICE = Price(Ucredits(7), Ucredits(3), Ucredits(11))
ISLANDS = 5
DAY = timedelta(days=1)
CAUSES = (
    Cause.CARGO_FAILED,
    Cause.CARGO_DIED,
    Cause.CARGO_STALLED,
    Cause.LIMIT_EXCEEDED,
    Cause.BAD_INPUT,
    Cause.ISLAND_STOPPED,
    Cause.DEADLINE,
    Cause.CANCELLED,
)

JOBS_MAX = 6
ACTS: Final[dict[str, int]] = {
    "submit": 10,
    "dispatch": 30,
    "stream": 30,
    "read": 20,
    "complete": 3,
    "fail": 3,
    "lose": 8,
    "cancel": 2,
    "wait": 1,
    "report_again": 2,
    "lose_again": 2,
    "move_insurance": 2,
}
"""What chance chooses from, and how often."""


@dataclass
class Tumult:
    scene: Scene
    islands: list[Island]
    owners: list[User]
    jobs: list[Job] = field(default_factory=list)
    reports: list[ReportIn] = field(default_factory=list)

    @classmethod
    async def begin(
        cls, store: MemoryStore | None = None, *, resumable: bool = True, day_ucredits: int = 10_000
    ) -> Tumult:
        policy = Policy(insured_day_ucredits=Ucredits(day_ucredits))
        scene = await a_scene(
            policy=policy, store=store, price=PRICE, resumable=resumable, credit=10**9
        )
        owners = [builders.a_user(), scene.owner, scene.user]
        async with scene.store.begin() as tx:
            await tx.users.add(owners[0])
        islands = []
        for number in range(ISLANDS):
            owner = owners[number % len(owners)]
            island = await builders.a_stored_island(scene.store, owner, cargo=scene.cargo)
            scene.world.fleet.load([island])
            islands.append(island)
        return cls(scene, islands, owners)

    # --- what may happen ----------------------------------------------------------------------------------------

    async def submit(self, interactive: bool) -> None:
        number = len(self.jobs)
        job = await self.scene.submit(
            interactive=interactive,
            idempotency_key=f"request {number}",
            request_hash=b"%d" % number,
        )
        self.jobs.append(job)

    async def dispatch(self, which: int, refusing: int) -> None:
        """`refusing` of the Islands say no, or nothing at all."""
        for number, island in enumerate(self.islands):
            if number >= refusing:
                self.scene.bus.accept(island.id)
            else:
                said = (Refused("no slot"), Unreachable("no answer in time"))[number % 2]
                self.scene.bus.always(island.id, said)
        if self.jobs:
            await dispatch(self.scene.world, self._any(which).id)

    async def stream(self, which: int, count: int, prompt_tokens: int) -> None:
        job = await self._running(which)
        answer = self.scene.world.answers.get(job.id) if job else None
        if job is None or answer is None:
            return
        texts = ["x"] * min(count, answer.items_max - answer.next)
        self.scene.stream(job, *texts, prompt_tokens=prompt_tokens)

    async def read(self, which: int, count: int, written: bool) -> None:
        """A reader is handed some items; and they are written to its response, or not yet."""
        job = await self._running(which)
        answer = self.scene.world.answers.get(job.id) if job else None
        if answer is not None:
            answer.taken = max(answer.taken, min(answer.next, answer.taken + count))
            if written:
                answer.delivered = max(answer.delivered, answer.taken)

    async def report(self, which: int, cause: int | None, lies: bool, prompt_tokens: int) -> None:
        """The Island reports all that it streamed; or one item other than it streamed."""
        job = await self._running(which)
        answer = self.scene.world.answers.get(job.id) if job else None
        if job is None or answer is None:
            return
        async with self.scene.store.begin() as tx:
            attempt = await tx.attempts.get(job.id, job.epoch)
        assert attempt is not None
        texts = tuple(answer.texts[attempt.first_position :])
        report = self.scene.report(
            job,
            *((*texts[:-1], "lie") if lies and texts else texts),
            cause=Cause.COMPLETED if cause is None else CAUSES[cause % len(CAUSES)],
            first_position=attempt.first_position,
            next_position=answer.next,
            usage=Usage(prompt_tokens=prompt_tokens),
            island_id=attempt.island_id,
        )
        self.reports.append(replace(report, raw=b"report %d" % len(self.reports)))
        await track(self.scene.world, self.reports[-1])

    async def report_again(self, which: int) -> None:
        """What was settled once is not settled again, whoever says it."""
        if not self.reports:
            return
        before = await self.money()
        with contextlib.suppress(StaleAttempt):
            await track(self.scene.world, self.reports[which % len(self.reports)])
        assert await self.money() == before, "a report that came twice moved money"

    async def lose(self, which: int) -> None:
        job = await self._running(which)
        if job is not None:
            await failover(self.scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")

    async def lose_again(self, which: int) -> None:
        """An old epoch ends nothing."""
        if self.jobs:
            job = await self.scene.job(self._any(which).id)
            before = await self.money()
            with contextlib.suppress(StaleAttempt):
                if job.epoch > 1:
                    old = Epoch(job.epoch - 1)
                    await failover(self.scene.world, job.id, old, Cause.LEASE_LOST, "silent")
            assert await self.money() == before, "an old epoch moved money"

    async def cancel(self, which: int) -> None:
        if not self.jobs:
            return
        job = self._any(which)
        first = await cancel(self.scene.world, self.scene.user.id, job.id)
        before = await self.money()
        assert await cancel(self.scene.world, self.scene.user.id, job.id) == first
        assert await self.money() == before, "cancelling twice moved money"

    async def wait(self, seconds: int) -> None:
        self.scene.clock.advance(seconds)
        for job in self.jobs:
            await expire_job(self.scene.world, job.id)

    async def move_insurance(self, amount: int) -> None:
        """Somebody fills the fund, or takes out of it."""
        number = len(self.reports) * 1000 + int(self.scene.clock.monotonic())
        async with self.scene.store.begin() as tx:
            left = (await tx.ledger.account(INSURANCE)).available
            moved = max(amount, -left)
            if moved:
                entries = {INSURANCE: Ucredits(moved), ISSUANCE: Ucredits(-moved)}
                name = f"moved:{number}:{moved}:{left}"
                await tx.ledger.transfer(Transfer(name, entries, self.scene.clock.now()))

    async def rage(self, chance: random.Random, steps: int) -> None:
        """So many acts, chosen by chance; what must hold is checked after each. Now and then nobody reads, or Islands
        lie more: only then is an answer begun anew that several have worked on."""
        reads, lies = chance.random() < 0.7, chance.choice((0.05, 0.5))
        for _ in range(steps):
            which, count = chance.randrange(8), chance.randint(1, 5)
            tokens = chance.choice((0, 1, 5, 90, 10**6))
            act = chance.choices(list(ACTS), list(ACTS.values()))[0]
            if act == "submit" and len(self.jobs) < JOBS_MAX:
                await self.submit(chance.random() < 0.5)
            elif act == "dispatch":
                await self.dispatch(which, chance.choice((0, 0, 0, 1, 2, 4)))
            elif act == "stream":
                await self.stream(which, count, tokens)
            elif act == "read" and reads:
                await self.read(which, count, chance.random() < 0.8)
            elif act == "complete":
                await self.report(which, None, chance.random() < lies, tokens)
            elif act == "fail":
                await self.report(which, chance.randrange(8), chance.random() < lies, tokens)
            elif act == "wait":
                await self.wait(chance.choice((1, 10, 31)))
            elif act == "move_insurance":
                await self.move_insurance(chance.choice((-(10**12), -100, 60, 10**9)))
            elif act not in ("submit", "read"):
                await getattr(self, act)(which)
            await self.check()
        await self.end()

    async def outcomes(self) -> Counter[str]:
        """How the jobs ended, and on how many Islands' work each stands: to see that chance reached everything."""
        found: Counter[str] = Counter()
        async with self.scene.store.begin() as tx:
            for job in self.jobs:
                stands = await tx.jobs.get(job.id)
                assert stands is not None
                rows = await tx.usage.of_job(job.id)
                worked = sum(1 for row in rows if row.positions and row.paid_for)
                found[f"{stands.status.value} by {worked}"] += 1
                found.update(pay.kind.value for pay in await tx.usage.pays_of([job.id]))
        return found

    # --- what must hold -----------------------------------------------------------------------------------------

    async def money(self) -> list[tuple[int, int]]:
        async with self.scene.store.begin() as tx:
            accounts = [
                await tx.ledger.account(account)
                for account in (INSURANCE, *(owner_account(owner.id) for owner in self.owners))
            ]
        return [(a.balance, a.held) for a in accounts] + [(await self.scene.balance(), 0)]

    async def check(self) -> None:
        world = self.scene.world
        shares = world.policy.shares
        async with self.scene.store.begin() as tx:
            broken = await broken_promises(tx, [job.id for job in self.jobs], shares)
            assert broken == [], broken
            assert (await tx.ledger.account(INSURANCE)).available >= 0
            for job in self.jobs:
                stands = await tx.jobs.get(job.id)
                assert stands is not None
                if stands.finished:
                    attempts = await tx.attempts.of_job(job.id)
                    tokens = prompt_tokens_of(attempts, job.prompt_tokens_max)
                    nothing = stands.status is not JobStatus.SUCCEEDED and not stands.output_items
                    price = 0 if nothing else charge(PRICE, tokens, stands.output_items)
                    assert stands.charged == price <= stands.reserved, (stands, tokens)
                    pays = await tx.usage.pays_of([job.id])
                    for row in await tx.usage.of_job(job.id):
                        paid = sum(p.amount for p in pays if p.epoch == row.epoch)
                        due = due_of(row, PRICE, shares, tokens)
                        # A charge is shared out as a whole, with the price by the job in it.
                        most = due + 1 + (PRICE.job_ucredits if stands.charged else 0)
                        assert due - 1 <= paid <= most, (row, due, pays)
            await self._check_budget(tx)
            for owner in self.owners:
                since = self.scene.clock.now() - DAY
                earned = await tx.usage.earned(owner.id, since)
                allowed = int(world.policy.insured_day_ucredits)
                allowed += earned.charged * world.policy.insured_of_earned_bp // 10_000
                # What was allowed then may since have left the window; then there is only less.
                assert earned.insured <= allowed or self.scene.clock.monotonic() >= 86_400

    async def _check_budget(self, tx: Tx) -> None:
        """The key has used what was charged, and what is still held."""
        used = 0
        for job in self.jobs:
            stands = await tx.jobs.get(job.id)
            assert stands is not None
            used += stands.charged if stands.finished else stands.reserved
        key = await tx.keys.get(self.scene.user.id, self.scene.key.id)
        assert key is not None and key.used == used, (key, used)

    async def end(self) -> None:
        """Everything that still runs ends."""
        await self.wait(10_000)
        for job in self.jobs:
            assert (await self.scene.job(job.id)).finished
        await self.check()

    def _any(self, which: int) -> Job:
        return self.jobs[which % len(self.jobs)]

    async def _running(self, which: int) -> Job | None:
        """One of those that run."""
        running = [j for j in self.jobs if (await self.scene.job(j.id)).status is JobStatus.RUNNING]
        return await self.scene.job(running[which % len(running)].id) if running else None
