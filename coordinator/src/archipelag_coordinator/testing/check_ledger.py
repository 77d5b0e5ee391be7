"""What every store's ledger must do; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.ledger import (
    FEES,
    GRANTS,
    INSURANCE,
    ISSUANCE,
    AccountId,
    ReservationStatus,
    Transfer,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.errors import AlreadyPosted, InsufficientCredits
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import (
    a_customer,
    a_grant,
    a_job,
    a_reservation,
    a_stored_cargo,
    a_user,
)
from archipelag_coordinator.testing.fakes import START


def a_charge(user: User, amount: int, cause: str = "charge:1", fees: int = 0) -> Transfer:
    entries = {
        user_account(user.id): Ucredits(-amount),
        owner_account(user.id): Ucredits(amount - fees),
    }
    if fees:
        entries[FEES] = Ucredits(fees)
    return Transfer(cause, entries, START)


async def balance(store: Store, account: AccountId) -> tuple[int, int]:
    async with store.begin() as tx:
        found = await tx.ledger.account(account)
    return found.balance, found.held


class CheckLedger:
    async def test_unused_account_has_nothing(self, store: Store) -> None:
        assert await balance(store, user_account(a_user().id)) == (0, 0)

    async def test_transfer_moves_once_and_says_so(self, store: Store) -> None:
        user = a_user()

        async with store.begin() as tx:
            first = await tx.ledger.transfer(a_grant(user, 500))
            again = await tx.ledger.transfer(a_grant(user, 500))

        assert (first, again) == (True, False)
        assert await balance(store, user_account(user.id)) == (500, 0)
        assert (await balance(store, GRANTS))[0] <= -500

    async def test_other_entries_under_a_posted_id_are_refused(self, store: Store) -> None:
        user = a_user()
        async with store.begin() as tx:
            await tx.ledger.transfer(a_grant(user, 500))

        with pytest.raises(AlreadyPosted):
            async with store.begin() as tx:
                await tx.ledger.transfer(a_grant(user, 501))

        assert await balance(store, user_account(user.id)) == (500, 0)

    async def test_only_named_accounts_go_below_zero(self, store: Store) -> None:
        user = a_user()
        for account in (user_account(user.id), owner_account(user.id), FEES, INSURANCE):
            away = {account: Ucredits(-1_000_000), ISSUANCE: Ucredits(1_000_000)}
            with pytest.raises(InsufficientCredits):
                async with store.begin() as tx:
                    await tx.ledger.transfer(Transfer(f"away:{account}", away, START))

        async with store.begin() as tx:
            in_the_books = {ISSUANCE: Ucredits(-7), INSURANCE: Ucredits(7)}
            assert await tx.ledger.transfer(Transfer(f"seed:{user.id}", in_the_books, START))

    async def test_refusal_says_what_was_needed_and_what_was_there(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        async with store.begin() as tx:
            await tx.ledger.reserve(a_reservation(a_job(user), 30))

        with pytest.raises(InsufficientCredits) as refused:
            async with store.begin() as tx:
                await tx.ledger.transfer(a_charge(user, 71))

        assert (refused.value.required, refused.value.available) == (71, 70)

    async def test_transfer_that_stands_is_not_refused_for_lack_of_credits(
        self, store: Store
    ) -> None:
        user, _, _ = await a_customer(store, 100)
        async with store.begin() as tx:
            await tx.ledger.transfer(a_charge(user, 100, f"once:{user.id}"))

        async with store.begin() as tx:
            assert not await tx.ledger.transfer(a_charge(user, 100, f"once:{user.id}"))

    async def test_refused_transfer_leaves_no_trace(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)

        async with store.begin() as tx:
            with pytest.raises(InsufficientCredits):
                await tx.ledger.transfer(a_charge(user, 101, f"large:{user.id}"))

        async with store.begin() as tx:
            assert len(await tx.ledger.transfers_of(user_account(user.id), limit=9, offset=0)) == 1
            assert await tx.ledger.transfer(a_charge(user, 100, f"large:{user.id}"))

    async def test_reserving_holds_and_repeating_holds_no_more(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 60)

        async with store.begin() as tx:
            await tx.ledger.reserve(held)
            await tx.ledger.reserve(held)

        assert await balance(store, user_account(user.id)) == (100, 60)
        async with store.begin() as tx:
            assert await tx.ledger.reservation(held.job_id) == held
            assert await tx.ledger.reservation(a_job(user).id) is None

    async def test_reserving_beyond_what_is_available_is_refused(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        async with store.begin() as tx:
            await tx.ledger.reserve(a_reservation(a_job(user), 60))

        with pytest.raises(InsufficientCredits) as refused:
            async with store.begin() as tx:
                await tx.ledger.reserve(a_reservation(a_job(user), 41))

        assert (refused.value.required, refused.value.available) == (41, 40)
        assert await balance(store, user_account(user.id)) == (100, 60)

    async def test_nothing_can_be_reserved_by_who_has_nothing_but_nothing(
        self, store: Store
    ) -> None:
        user, _, _ = await a_customer(store, 0)

        async with store.begin() as tx:
            await tx.ledger.reserve(a_reservation(a_job(user), 0))
        with pytest.raises(InsufficientCredits):
            async with store.begin() as tx:
                await tx.ledger.reserve(a_reservation(a_job(user), 1))

    async def test_posting_charges_and_releases_the_rest(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 100)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)

        async with store.begin() as tx:
            posted = await tx.ledger.post(held.job_id, a_charge(user, 70, held.job_id, fees=7))
            again = await tx.ledger.post(held.job_id, a_charge(user, 70, held.job_id, fees=7))

        assert (posted, again) == (True, False)
        assert await balance(store, user_account(user.id)) == (30, 0)
        assert await balance(store, owner_account(user.id)) == (63, 0)
        async with store.begin() as tx:
            kept = await tx.ledger.reservation(held.job_id)
        assert kept is not None and kept.status is ReservationStatus.POSTED

    async def test_posting_without_a_charge_releases(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 60)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)

        async with store.begin() as tx:
            assert await tx.ledger.post(held.job_id, None)
            assert not await tx.ledger.post(held.job_id, None)

        assert await balance(store, user_account(user.id)) == (100, 0)

    async def test_what_is_voided_is_not_charged(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 60)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)

        async with store.begin() as tx:
            voided = await tx.ledger.void(held.job_id)
            again = await tx.ledger.void(held.job_id)
            posted = await tx.ledger.post(held.job_id, a_charge(user, 60, held.job_id))

        assert (voided, again, posted) == (True, False, False)
        assert await balance(store, user_account(user.id)) == (100, 0)

    async def test_posting_or_voiding_what_was_never_reserved_does_nothing(
        self, store: Store
    ) -> None:
        user, _, _ = await a_customer(store, 100)
        job = a_job(user)

        async with store.begin() as tx:
            assert not await tx.ledger.post(job.id, a_charge(user, 60, job.id))
            assert not await tx.ledger.void(job.id)

        assert await balance(store, user_account(user.id)) == (100, 0)

    async def test_posting_more_than_there_is_changes_nothing(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 60)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)

        with pytest.raises(InsufficientCredits):
            async with store.begin() as tx:
                await tx.ledger.post(held.job_id, a_charge(user, 101, held.job_id))

        assert await balance(store, user_account(user.id)) == (100, 60)

    async def test_reservation_expires_once_its_job_is_over_or_gone(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        cargo = await a_stored_cargo(store)
        running = a_job(user, cargo=cargo, status=JobStatus.RUNNING)
        over = a_job(user, cargo=cargo, status=JobStatus.FAILED)
        gone = a_job(user)
        later = START + timedelta(days=1)
        async with store.begin() as tx:
            for job in (running, over):
                await tx.jobs.add(job)
            for job in (running, over, gone):
                await tx.ledger.reserve(a_reservation(job, 20))

        async with store.begin() as tx:
            early = await tx.ledger.expire(START, 100)
            expired = await tx.ledger.expire(later, 100)
            again = await tx.ledger.expire(later, 100)

        assert (early, again) == ([], [])
        assert expired == sorted([over.id, gone.id])
        assert await balance(store, user_account(user.id)) == (100, 20)

    async def test_no_more_expire_than_were_asked_for(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        async with store.begin() as tx:
            for _ in range(3):
                await tx.ledger.reserve(a_reservation(a_job(user), 20))

        async with store.begin() as tx:
            assert len(await tx.ledger.expire(START + timedelta(days=1), 2)) == 2

        assert await balance(store, user_account(user.id)) == (100, 20)

    async def test_transfers_are_listed_newest_first_with_every_entry(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 0)
        transfers = [
            Transfer(
                f"t{i}:{user.id}",
                {GRANTS: Ucredits(-i), user_account(user.id): Ucredits(i)},
                START + timedelta(seconds=i),
                a_job(user).id,
                "note",
            )
            for i in (1, 2, 3)
        ]
        async with store.begin() as tx:
            for transfer in transfers:
                await tx.ledger.transfer(transfer)

        async with store.begin() as tx:
            listed = await tx.ledger.transfers_of(user_account(user.id), limit=2, offset=0)
            rest = await tx.ledger.transfers_of(user_account(user.id), limit=2, offset=2)

        assert listed == [transfers[2], transfers[1]]
        assert rest == [transfers[0]]

    async def test_insurance_filled_by_many_pays_out_to_the_last_credit(self, store: Store) -> None:
        owner = owner_account(a_user().id)
        before, _ = await balance(store, INSURANCE)
        async with store.begin() as tx:
            for number in range(40):
                entries = {ISSUANCE: Ucredits(-5), INSURANCE: Ucredits(3), FEES: Ucredits(2)}
                await tx.ledger.transfer(Transfer(f"in:{owner}:{number}", entries, START))
        full = before + 120

        def out(cause: str, amount: int) -> Transfer:
            entries = {INSURANCE: Ucredits(-amount), owner: Ucredits(amount)}
            return Transfer(f"out:{owner}:{cause}", entries, START + timedelta(seconds=1))

        async with store.begin() as tx:
            assert await tx.ledger.transfer(out("half", 61))
            assert not await tx.ledger.transfer(out("half", 61))
        with pytest.raises(InsufficientCredits) as refused:
            async with store.begin() as tx:
                await tx.ledger.transfer(out("more", full - 60))
        async with store.begin() as tx:
            assert await tx.ledger.transfer(out("rest", full - 61))

        assert (refused.value.required, refused.value.available) == (full - 60, full - 61)
        assert await balance(store, INSURANCE) == (0, 0)
        assert await balance(store, owner) == (full, 0)
        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []
            listed = await tx.ledger.transfers_of(INSURANCE, limit=3, offset=0)
        assert listed[:2] == [out("rest", full - 61), out("half", 61)]
        assert listed[2].entries == {ISSUANCE: -5, INSURANCE: 3, FEES: 2}

    async def test_kept_balances_equal_the_rebuilt_ones(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 100)
        held = a_reservation(a_job(user), 60)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)
            await tx.ledger.reserve(a_reservation(a_job(user), 10))
            await tx.ledger.post(held.job_id, a_charge(user, 50, held.job_id))

        async with store.begin() as tx:
            assert await tx.ledger.rebuild() == []

    async def test_many_reservations_at_once_never_hold_more_than_there_is(
        self, store: Store
    ) -> None:
        user, _, _ = await a_customer(store, 20 * 1000 + 999)

        async def reserve() -> str:
            try:
                async with store.begin() as tx:
                    await tx.ledger.reserve(a_reservation(a_job(user), 1000))
            except InsufficientCredits:
                return "refused"
            return "reserved"

        outcomes = Counter(await asyncio.gather(*(reserve() for _ in range(200))))

        assert outcomes == {"reserved": 20, "refused": 180}
        assert await balance(store, user_account(user.id)) == (20_999, 20_000)

    async def test_same_charge_from_two_sides_is_posted_once(self, store: Store) -> None:
        user, _, _ = await a_customer(store, 1000)
        held = a_reservation(a_job(user), 500)
        async with store.begin() as tx:
            await tx.ledger.reserve(held)

        async def post() -> bool:
            async with store.begin() as tx:
                return await tx.ledger.post(held.job_id, a_charge(user, 400, held.job_id))

        async def void() -> bool:
            async with store.begin() as tx:
                return await tx.ledger.void(held.job_id)

        outcomes = await asyncio.gather(post(), post(), void(), post(), void())

        assert outcomes.count(True) == 1
        after = await balance(store, user_account(user.id))
        assert after in ((600, 0), (1000, 0))
