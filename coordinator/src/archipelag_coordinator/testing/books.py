"""Checks the books of finished jobs against what was promised: for property tests, simulations and chaos alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from archipelag_contracts.ids import JobId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    AccountId,
    PayKind,
    ReservationStatus,
    Transfer,
    charge_id,
    insured_pay_id,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.pricing import Shares, charge, split
from archipelag_coordinator.domain.usage import UsageRow, tiles, usage_row
from archipelag_coordinator.services.ports import Tx

TRANSFERS_MAX = 100_000


async def broken_promises(tx: Tx, jobs: Iterable[JobId], shares: Shares) -> list[str]:
    """Every promise about pay that these jobs break, in words; empty is right."""
    broken = [
        f"{kept.id} holds {kept.balance} of which {kept.held} held, its entries say {built}"
        for kept, built in await tx.ledger.rebuild()
    ]
    for job_id in jobs:
        job = await tx.jobs.get(job_id)
        if job is None:
            broken.append(f"{job_id} is gone")
            continue
        attempts = await tx.attempts.of_job(job_id)
        rows = await tx.usage.of_job(job_id)
        wrong = await _rows_broken(tx, attempts, rows)
        wrong += [
            f"epoch {row.epoch} is believed {row.prompt_tokens} tokens of a prompt"
            for row in rows
            if row.prompt_tokens > job.prompt_tokens_max
        ]
        wrong += await _reservation_broken(tx, job)
        if job.finished:
            wrong += _tiles_broken(job, rows)
            wrong += await _pay_broken(tx, job, rows, shares)
        broken += [f"{job_id} ({job.status.value}): {what}" for what in wrong]
    return broken


async def _rows_broken(tx: Tx, attempts: Sequence[Attempt], rows: Sequence[UsageRow]) -> list[str]:
    """One row for each attempt that ended, saying what the attempt says."""
    expected = []
    for attempt in attempts:
        island = await tx.islands.get(attempt.island_id)
        if attempt.finished and island is not None:
            expected.append(usage_row(attempt, island.owner_id))
    return [] if list(rows) == expected else [f"usage rows {rows} instead of {expected}"]


async def _reservation_broken(tx: Tx, job: Job) -> list[str]:
    held = await tx.ledger.reservation(job.id)
    pending = held is not None and held.status is ReservationStatus.PENDING
    return [] if pending is not job.finished else [f"its reservation is {held}"]


def _tiles_broken(job: Job, rows: Sequence[UsageRow]) -> list[str]:
    """The positions of a completed answer stand in the rows exactly once."""
    if job.status is JobStatus.FAILED:
        return []
    unpaid = (Cause.BAD_OUTPUT, Cause.REFUSED)
    paid = [(r.first_position, r.next_position) for r in rows if r.cause not in unpaid]
    stands = sorted(position for tile in tiles(paid, job.output_items) for position in tile)
    return [] if stands == list(range(job.output_items)) else [f"positions {stands} stand"]


async def _pay_broken(tx: Tx, job: Job, rows: Sequence[UsageRow], shares: Shares) -> list[str]:
    broken = []
    posted = await _transfers_of(tx, job, rows)
    pays = await tx.usage.pays_of([job.id])
    charged = posted.get(charge_id(job.id))
    if job.charged != (-charged.entries[user_account(job.user_id)] if charged else 0):
        broken.append(f"charged {job.charged}, posted {charged}")
    if job.charged > job.reserved or (job.status is JobStatus.FAILED and job.charged):
        broken.append(f"charged {job.charged} of {job.reserved}")
    if charged is not None:
        parts = split(job.charged, shares)
        taken = (charged.entries.get(FEES, 0), charged.entries.get(INSURANCE, 0))
        paid = sum(pay.amount for pay in pays if pay.kind is PayKind.CHARGE)
        if taken != (parts.fees, parts.insurance) or paid + sum(taken) != job.charged:
            broken.append(f"of {job.charged}, {paid} to Islands and {taken} to the platform")
        broken += await _shares_broken(tx, job, rows, charged, parts.islands)
    for row in rows:
        mine = {pay.kind: pay.amount for pay in pays if pay.epoch == row.epoch}
        insured = posted.get(insured_pay_id(job.id, row.epoch))
        sent = insured.entries.get(owner_account(row.owner_id), 0) if insured else 0
        if mine.get(PayKind.INSURED, 0) != sent:
            broken.append(f"epoch {row.epoch}: insured {mine}, posted {sent}")
        if row.cause in (Cause.BAD_OUTPUT, Cause.REFUSED) and mine:
            broken.append(f"epoch {row.epoch} ended as {row.cause.value} and was paid {mine}")
    return broken


def fair_shares(
    made: Sequence[tuple[str, int, int]], *, whole: int, items: int, prompt: int, item: int
) -> dict[str, float]:
    """What of `whole`, the Islands' part of a charge, is due to whom, reckoned apart from the settlement.

    `made` is (owner, first, next) of each attempt that is paid, by epoch; `prompt` the price of the whole prompt,
    `item` that of one item. Each position is its last maker's; the prompt is whose who made the first position.
    """
    maker: dict[int, str] = {}
    for owner, first, after in made:
        maker.update(dict.fromkeys(range(first, min(after, items)), owner))
    worth = dict.fromkeys((owner for owner, _, _ in made), 0.0)
    for position in range(items):
        if position in maker:
            worth[maker[position]] += item
    if made:
        worth[maker[min(maker)] if maker else made[-1][0]] += prompt
    total = sum(worth.values())
    return {owner: whole * value / total for owner, value in worth.items()} if total else {}


def due_of(row: UsageRow, price: Price, shares: Shares, prompt_tokens: int) -> int:
    """What one attempt earns, whoever pays it, but for its part of a price by the job."""
    if row.cause in (Cause.BAD_OUTPUT, Cause.REFUSED):
        return 0
    if not row.positions and row.cause is not Cause.COMPLETED:
        return 0
    did = charge(price, prompt_tokens + row.first_position, row.positions) - price.job_ucredits
    return split(did, shares).islands  # type: ignore[arg-type]


async def _shares_broken(
    tx: Tx, job: Job, rows: Sequence[UsageRow], charge: Transfer, whole: int
) -> list[str]:
    cargo = await tx.cargos.by_digest(job.cargo_digest)
    assert cargo is not None
    price = cargo.manifest.price
    unpaid = (Cause.BAD_OUTPUT, Cause.REFUSED)
    due = fair_shares(
        [
            (owner_account(row.owner_id), row.first_position, row.next_position)
            for row in rows
            if row.cause not in unpaid and (row.positions or row.cause is Cause.COMPLETED)
        ],
        whole=whole,
        items=job.output_items,
        prompt=job.prompt_tokens * price.prompt_token_ucredits,
        item=price.output_item_ucredits,
    )
    # Each attempt is rounded by itself, by less than one micro-credit.
    return [
        f"{account} got {charge.entries.get(AccountId(account), 0)} of {whole}, {fair:.1f} was due"
        for account, fair in due.items()
        if abs(charge.entries.get(AccountId(account), 0) - fair) >= len(rows) + 1
    ]


async def _transfers_of(tx: Tx, job: Job, rows: Sequence[UsageRow]) -> dict[str, Transfer]:
    accounts = {user_account(job.user_id), *(owner_account(row.owner_id) for row in rows)}
    return {
        transfer.id: transfer
        for account in accounts
        for transfer in await tx.ledger.transfers_of(account, limit=TRANSFERS_MAX, offset=0)
        if transfer.job_id == job.id
    }
