"""What every store must do with usage rows, pay and karma notes; part of `CheckStore`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, JobId, Position, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Cause, Usage
from archipelag_coordinator.domain.karma import NoteKind, Tally
from archipelag_coordinator.domain.ledger import (
    INSURANCE,
    ISSUANCE,
    Pay,
    PayKind,
    Transfer,
    insured_pay_id,
    owner_account,
)
from archipelag_coordinator.domain.usage import UsageRow, usage_row
from archipelag_coordinator.errors import Conflict, StaleAttempt
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START

SECOND = timedelta(seconds=1)


async def insured(store: Store, job: JobId, owner: UserId, amount: int, at: int = 0) -> Transfer:
    """A payment out of the insurance, which is filled for it."""
    when = START + at * SECOND
    pay = Pay(job, Epoch(1), owner, PayKind.INSURED, Ucredits(amount), when)
    entries = {INSURANCE: Ucredits(-amount), owner_account(owner): Ucredits(amount)}
    transfer = Transfer(insured_pay_id(job, Epoch(1)), entries, when, job, "insured pay", (pay,))
    async with store.begin() as tx:
        filled = {ISSUANCE: Ucredits(-amount), INSURANCE: Ucredits(amount)}
        await tx.ledger.transfer(Transfer(f"fill:{job}", filled, START))
        await tx.ledger.lock(job, [INSURANCE, owner_account(owner)])
        await tx.ledger.transfer(transfer)
    return transfer


class CheckPay:
    async def test_ending_an_attempt_writes_its_usage_once(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, attempt = await scene.attempt(first_position=Position(2), next_position=Position(2))
        died = attempt.fail(
            START + 5 * SECOND, Cause.CARGO_DIED, "exit 139", Position(6), Usage(prompt_tokens=7)
        )
        async with store.begin() as tx:
            await tx.attempts.save(died, was=attempt)

        with pytest.raises(StaleAttempt):
            async with store.begin() as tx:
                await tx.attempts.save(died, was=attempt)
        async with store.begin() as tx:
            (row,) = await tx.usage.of_job(job.id)
            notes = await tx.karma.of_island(scene.island.id, limit=9, offset=0)

        assert row == usage_row(died, scene.user.id)
        assert (row.reread_tokens, row.wall_ms) == (9, 5_000)
        assert [(note.kind, note.epoch) for note in notes] == [(NoteKind.CARGO_DIED, 1)]

    async def test_every_way_to_end_writes_a_row(self, store: Store) -> None:
        scene = await Scene.of(store)
        now = START + SECOND
        causes = {}
        for name in ("succeed", "fail", "refuse", "lose", "cancel"):
            job, attempt = await scene.attempt()
            ended = {
                "succeed": lambda a: a.succeed(now, Usage(), Position(3), b"report"),
                "fail": lambda a: a.fail(now, Cause.DEADLINE, "late", Position(1)),
                "refuse": lambda a: a.refuse(now, "no slot"),
                "lose": lambda a: a.lose(now, "silent", Position(2)),
                "cancel": lambda a: a.cancel(now, "left", Position(2), Usage()),
            }[name](attempt)
            async with store.begin() as tx:
                await tx.attempts.save(ended, was=attempt)
                (row,) = await tx.usage.of_job(job.id)
            causes[name] = row.cause

        assert causes == {
            "succeed": Cause.COMPLETED,
            "fail": Cause.DEADLINE,
            "refuse": Cause.REFUSED,
            "lose": Cause.LEASE_LOST,
            "cancel": Cause.CANCELLED,
        }

    async def test_ending_that_is_taken_back_leaves_no_row(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, attempt = await scene.attempt()

        async def fail_afterwards() -> None:
            async with store.begin() as tx:
                await tx.attempts.save(attempt.refuse(START, "no"), was=attempt)
                raise RuntimeError("something else failed")

        with pytest.raises(RuntimeError):
            await fail_afterwards()

        async with store.begin() as tx:
            assert await tx.usage.of_job(job.id) == []

    async def test_usage_of_an_island_is_listed_newest_first(self, store: Store) -> None:
        scene = await Scene.of(store)
        for second in (1, 3, 2):
            _, attempt = await scene.attempt()
            at = START + second * SECOND
            async with store.begin() as tx:
                await tx.attempts.save(attempt.succeed(at, Usage(), Position(1), b""), was=attempt)

        async with store.begin() as tx:
            listed: list[UsageRow] = []
            for offset in range(4):
                listed += await tx.usage.of_island(scene.island.id, limit=1, offset=offset)

        assert [row.wall_ms for row in listed] == [3_000, 2_000, 1_000]

    async def test_karma_notes_are_tallied_by_kind(self, store: Store) -> None:
        scene = await Scene.of(store)
        for second in (1, 2):
            _, attempt = await scene.attempt()
            at = START + second * SECOND
            async with store.begin() as tx:
                await tx.attempts.save(attempt.succeed(at, Usage(), Position(1), b""), was=attempt)
        _, attempt = await scene.attempt()
        async with store.begin() as tx:
            await tx.attempts.save(attempt.lose(START, "silent", Position(0)), was=attempt)

        async with store.begin() as tx:
            tallied = await tx.karma.tally(scene.island.id)

        assert tallied == [
            Tally(NoteKind.GOOD_WORK, 2, 3_000),
            Tally(NoteKind.LEASE_LOST, 1, -3_600_000),
        ]

    async def test_pay_is_kept_with_the_transfer_and_not_twice(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()
        transfer = await insured(store, job.id, scene.user.id, 500)

        async with store.begin() as tx:
            assert not await tx.ledger.transfer(transfer)
            assert await tx.usage.pays_of([job.id, JobId(an_id("job"))]) == list(transfer.pays)

        async with store.begin() as tx:
            filled = {ISSUANCE: Ucredits(-500), INSURANCE: Ucredits(500)}
            await tx.ledger.transfer(Transfer(f"more:{job.id}", filled, START))
        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.ledger.transfer(replace(transfer, id="another id"))

    async def test_earned_counts_what_was_paid_since(self, store: Store) -> None:
        scene = await Scene.of(store)
        for at, amount in ((0, 100), (1, 20), (2, 3)):
            await insured(store, (await scene.job()).id, scene.user.id, amount, at)

        async with store.begin() as tx:
            earned = await tx.usage.earned(scene.user.id, START)
            nobody = await tx.usage.earned(UserId(an_id("usr")), START)

        assert (earned.charged, earned.insured) == (0, 23)
        assert (nobody.charged, nobody.insured) == (0, 0)

    async def test_what_is_owed_is_written_down_once(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()
        owed = Pay(job.id, Epoch(1), scene.user.id, PayKind.OWED, Ucredits(70), START)
        async with store.begin() as tx:
            await tx.usage.owe(owed)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.usage.owe(owed)
        async with store.begin() as tx:
            assert await tx.usage.pays_of([job.id]) == [owed]
            assert (await tx.usage.earned(scene.user.id, START - SECOND)).insured == 0
