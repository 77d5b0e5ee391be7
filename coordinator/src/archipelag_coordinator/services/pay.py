"""Settles what a job cost and what its Islands earned, in the transaction that ends it. Common ground of the verbs.

Locks are taken in one order: the job's row, its owners' day limits by owner, then what the ledger locks. Two
settlements can therefore wait for each other's end, never for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from archipelag_contracts.ids import UserId
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.ledger import FEES, INSURANCE, owner_account, user_account
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.pricing import BASIS
from archipelag_coordinator.domain.settlement import (
    Bill,
    Work,
    bill_for,
    insured_pay_for,
    paid_attempts,
)
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

DAY = timedelta(days=1)


async def settle(
    world: World,
    tx: Tx,
    job: Job,
    price: Price,
    attempts: Sequence[Attempt],
    *,
    prompt_tokens: int,
    output_items: int | None,
    now: datetime,
) -> Ucredits:
    """What the customer was charged. `output_items` None: nothing at all, and what was held for it is given back.

    `attempts` are all of the job's. To be called once in the transaction in which the job ends, and as the last that
    touches money in it, but for the API key.
    """
    bill = bill_for(
        job.id,
        job.user_id,
        price,
        world.policy.shares,
        prompt_tokens=prompt_tokens,
        output_items=output_items,
        work=await _work_of(world, tx, paid_attempts(attempts)),
        reserved=job.reserved,
        at=now,
    )
    if bill.due:
        await _pay_insured(world.policy, tx, job, bill, now)
    if bill.charge is not None:
        ended = await tx.ledger.post(job.id, bill.charge)
    else:
        ended = await tx.ledger.void(job.id)
    if not ended:
        return ZERO  # Nothing was held for it any more, so that nothing was charged.
    # The account before the key, as a submission does: locked the other way round, the two could wait for each other.
    if job.key_id is not None and job.reserved > bill.charged:
        await tx.keys.release(job.key_id, Ucredits(job.reserved - bill.charged))
    return bill.charged


async def _pay_insured(policy: Policy, tx: Tx, job: Job, bill: Bill, now: datetime) -> None:
    """What is due from the insurance, as far as it reaches and each owner's limit allows; the rest is written down."""
    owners = sorted({work.owner_id for work, _ in bill.due})
    left: dict[UserId, int] = {}
    for owner in owners:
        left[owner] = await _allowance(policy, tx, owner, now)
    # Everything that this settlement touches, at once and in order: what is there is then there to be paid.
    paid = {owner_account(owner) for owner in owners}
    charged = bill.charge.entries.keys() if bill.charge else {user_account(job.user_id)}
    await tx.ledger.lock(job.id, [FEES, INSURANCE, *paid, *charged])
    fund = int((await tx.ledger.account(INSURANCE)).available)
    for work, due in bill.due:
        limit = Ucredits(max(0, min(fund, left[work.owner_id])))
        transfer, owed = insured_pay_for(job.id, work, due, limit=limit, at=now)
        if transfer is not None:
            await tx.ledger.transfer(transfer)
            amount = -transfer.entries[INSURANCE]
            fund -= amount
            left[work.owner_id] -= amount
        if owed is not None:
            await tx.usage.owe(owed)


async def _allowance(policy: Policy, tx: Tx, owner: UserId, now: datetime) -> int:
    """What the insurance may still pay this owner today.

    Less than what a customer and an Island who play together lose in fees and insurance by trading with each other:
    what they would draw costs them more than it brings.
    """
    earned = await tx.usage.earned(owner, now - DAY)
    share = earned.charged * policy.insured_of_earned_bp // BASIS
    return policy.insured_day_ucredits + share - earned.insured


async def _work_of(world: World, tx: Tx, attempts: Sequence[Attempt]) -> list[Work]:
    work = []
    for attempt in attempts:
        # An Island's owner never changes, so that what this process has heard of it will do.
        known = world.fleet.get(attempt.island_id)
        island = known or await tx.islands.get(attempt.island_id)
        assert island is not None, "an attempt names an Island that never was"
        work.append(
            Work(
                island.owner_id,
                attempt.epoch,
                attempt.first_position,
                attempt.next_position,
                completed=attempt.cause is Cause.COMPLETED,
            )
        )
    return work
