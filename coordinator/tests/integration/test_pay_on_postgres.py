"""Exact pay on the real database: any sequence of endings, endings side by side, and SQL that would rewrite it."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, Position
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.adapters.postgres.parts import locked_for
from archipelag_coordinator.domain.attempt import AttemptStatus, Cause, Usage
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.ledger import FEES, PayKind, fund_insurance, owner_account
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.books import broken_promises
from archipelag_coordinator.testing.check_work import Scene as Stored
from archipelag_coordinator.testing.fakes import START
from archipelag_coordinator.testing.tumult import Tumult
from archipelag_coordinator.testing.worlds import a_scene
from psycopg import IntegrityError

SEEDS = 4
STEPS = 80
DUE = 10_000_000


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_books_close_whatever_happens_in_whatever_order(store, seed):
    chance = random.Random(seed)
    tumult = await Tumult.begin(store, day_ucredits=chance.choice((500, 10**9)))

    await tumult.rage(chance, STEPS)

    assert await tumult.outcomes()


async def a_world(store, **policy):
    scene = await a_scene(store=store, policy=Policy(**policy), credit=10**9)
    island = await builders.a_stored_island(store, scene.owner, cargo=scene.cargo)
    scene.world.fleet.load([island])
    async with store.begin() as tx:
        await tx.ledger.transfer(fund_insurance(Ucredits(10**9), "more", START))
    return scene, island


async def a_failing_job(scene, island, epochs=2):
    """Running, with one attempt lost in mid-answer and another at work that went on from there."""
    job = builders.a_job(
        scene.user,
        key=scene.key,
        cargo=scene.cargo,
        status=JobStatus.RUNNING,
        epoch=Epoch(epochs),
        reserved=Ucredits(200_000),
        prompt_tokens_max=1_000,
        output_items_max=1_000,
    )
    last = None
    async with scene.store.begin() as tx:
        await tx.jobs.add(job)
        await tx.ledger.reserve(builders.a_reservation(job))
        await tx.keys.reserve(scene.key.id, job.reserved)
        for epoch in range(1, epochs + 1):
            last = builders.an_attempt(
                job,
                island,
                epoch=Epoch(epoch),
                first_position=Position(100 * (epoch - 1)),
                next_position=Position(100 * (epoch - 1)),
            )
            await tx.attempts.add(last)
            if epoch < epochs:
                used = Usage(prompt_tokens=500)
                lost = last.lose(START, "silent", Position(100 * epoch), used)
                await tx.attempts.save(lost, was=last)
    return job, last


async def complete(scene, job, attempt):
    async with scene.store.begin() as tx:
        await tx.jobs.lock(job.id)
        await ending.succeed(
            scene.world,
            tx,
            job,
            attempt,
            texts=["x"] * (attempt.first_position + 100),
            finish_reason="stop",
            usage=Usage(prompt_tokens=500),
            report=b"report",
            now=START,
        )


async def fail(scene, job, attempt):
    async with scene.store.begin() as tx:
        await tx.jobs.lock(job.id)
        await recall(scene.world, tx, job)
        await ending.end_attempt(
            scene.world,
            tx,
            job,
            attempt,
            cause=Cause.CARGO_FAILED,
            reason="it failed",
            now=START,
            next_position=attempt.first_position + 100,
            usage=Usage(prompt_tokens=500),
        )


async def test_many_endings_at_once_neither_deadlock_nor_pay_more_than_is_allowed(store):
    """Ordinary ones, ones after a failover, and failing ones, of one owner and one customer."""
    scene, island = await a_world(store, insured_day_ucredits=Ucredits(100_000))
    jobs = [await a_failing_job(scene, island, epochs) for epochs in (1, 2, 2, 3) * 10]

    await asyncio.gather(
        *(
            (fail if number % 3 == 0 else complete)(scene, job, attempt)
            for number, (job, attempt) in enumerate(jobs)
        )
    )

    async with store.begin() as tx:
        earned = await tx.usage.earned(scene.owner.id, START - timedelta(days=1))
        pays = await tx.usage.pays_of([job.id for job, _ in jobs])
        broken = await broken_promises(tx, [job.id for job, _ in jobs], scene.world.policy.shares)
        balance = (await tx.ledger.account(owner_account(scene.owner.id))).balance
    assert broken == []
    assert 0 < earned.insured <= 100_000 + earned.charged * 1_500 // 10_000
    assert Counter(pay.kind for pay in pays)[PayKind.OWED] > 0
    assert balance == earned.insured + earned.charged


async def test_settlement_with_insured_pay_locks_in_the_ledgers_order(store):
    """Whoever charges another job at the same rows is waited for, and never waits in turn."""
    scene, island = await a_world(store)
    first, attempt = await a_failing_job(scene, island)
    while True:
        second, _ = await a_failing_job(scene, island, 1)
        if locked_for(FEES, second.id) == locked_for(FEES, first.id):
            break

    async with store.begin() as tx:
        await tx.ledger.lock(second.id, [FEES])
        settling = asyncio.create_task(complete(scene, first, attempt))
        await asyncio.sleep(0.2)  # It now waits for the fees, whatever it has locked by then.
        await tx.ledger.lock(second.id, ["platform:insurance"])

    await settling


async def test_fund_that_two_settlements_want_is_paid_once_and_the_rest_is_owed(store):
    scene, island = await a_world(store, insured_day_ucredits=Ucredits(10**12))
    jobs = [await a_failing_job(scene, island, 1) for _ in range(8)]
    async with store.begin() as tx:
        fund = (await tx.ledger.account("platform:insurance")).available
        drained = replace(
            fund_insurance(Ucredits(1), "drain", START),
            entries={"platform:insurance": 30_000 - fund, "platform:issuance": fund - 30_000},
        )
        await tx.ledger.transfer(drained)

    await asyncio.gather(*(fail(scene, job, attempt) for job, attempt in jobs))

    async with store.begin() as tx:
        pays = await tx.usage.pays_of([job.id for job, _ in jobs])
        left = (await tx.ledger.account("platform:insurance")).available
    paid = sum(pay.amount for pay in pays if pay.kind is PayKind.INSURED)
    owed = sum(pay.amount for pay in pays if pay.kind is PayKind.OWED)
    assert (paid, left) == (30_000, 0)
    assert paid + owed == len(jobs) * (500 * 20 + 100 * 100) * 85 // 100


@pytest.fixture
async def settled(store, database):
    stored = await Stored.of(store)
    job, attempt = await stored.attempt()
    lost = attempt.lose(START + timedelta(seconds=1), "silent", Position(3))
    async with store.begin() as tx:
        await tx.attempts.save(lost, was=attempt)
        assert lost.status is AttemptStatus.LOST
    return {"job": job.id, "island": stored.island.id, "owner": stored.user.id}


USED = "INSERT INTO usage SELECT job_id, {epoch}, island_id, owner_id, {cause}, {first}, {after}, "
USED += "prompt_tokens, reread_tokens, wall_ms, at FROM usage"
PAID = """INSERT INTO pays (job_id, epoch, kind, owner_id, amount, at)
    VALUES (%(job)s, 1, '{kind}', %(owner)s, {amount}, now())"""
CHEATS = {
    "an edited row of usage": "UPDATE usage SET next_position = next_position + 1",
    "a removed row of usage": "DELETE FROM usage",
    "emptied usage": "TRUNCATE usage",
    "a second row for the attempt": USED.format(epoch=1, cause="cause", first=0, after=3),
    "a row for an attempt that never was": USED.format(epoch=2, cause="cause", first=0, after=3),
    "an unknown cause": USED.format(epoch=1, cause="'boredom'", first=0, after=3),
    "positions backwards": USED.format(epoch=1, cause="cause", first=3, after=2),
    "pay out of a charge that was not posted": PAID.format(kind="charge", amount=5),
    "pay from the insurance that was not posted": PAID.format(kind="insured", amount=5),
    "pay of nothing": PAID.format(kind="owed", amount=0),
    "pay for fun": PAID.format(kind="bonus", amount=5),
    "edited karma": "UPDATE karma_notes SET points_ms = points_ms - 1",
    "forgotten karma": "DELETE FROM karma_notes",
    "emptied karma": "TRUNCATE karma_notes",
    "a fault that counts for the Island": """
        INSERT INTO karma_notes VALUES (%(island)s, 'job', 1, 'lease_lost', 5, now())""",
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
async def test_rewriting_by_sql_is_refused(cheat, settled, database):
    before = database.execute("SELECT * FROM usage").fetchall()

    with pytest.raises(IntegrityError):
        database.execute(cheat, settled)

    assert database.execute("SELECT * FROM usage").fetchall() == before
