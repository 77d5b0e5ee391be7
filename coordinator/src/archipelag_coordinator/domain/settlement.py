"""Who pays what when a job has ended: pure arithmetic over its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from archipelag_contracts.ids import Epoch, JobId, UserId
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    AccountId,
    Transfer,
    charge_id,
    insured_pay_id,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.pricing import Shares, charge, share_out, split


@dataclass(frozen=True)
class Work:
    """What one attempt did: the owner of its Island, its epoch, and how many positions of it were accepted."""

    owner_id: UserId
    epoch: Epoch
    positions: int


def charge_for(
    job: JobId,
    payer: UserId,
    price: Price,
    shares: Shares,
    *,
    prompt_tokens: int,
    output_items: int,
    work: Sequence[Work],
    reserved: Ucredits,
    at: datetime,
) -> tuple[Ucredits, Transfer | None]:
    """The user pays once for the prompt and for each delivered position; each Island is paid by its positions.

    Never more than what was reserved: the upper bound was promised. No transfer where nothing is due.
    """
    amount = Ucredits(min(charge(price, prompt_tokens, output_items), reserved))
    if amount == 0 or not work:
        return ZERO, None
    parts = split(amount, shares)
    # An answer of no items (an immediate stop) still took reading the prompt: the last attempt did that.
    weights = [w.positions for w in work]
    if not any(weights):
        weights[-1] = 1
    entries: dict[AccountId, int] = {user_account(payer): -amount}
    for one, pay in zip(work, share_out(parts.islands, weights), strict=True):
        _add(entries, owner_account(one.owner_id), pay)
    _add(entries, FEES, parts.fees)
    _add(entries, INSURANCE, parts.insurance)
    return amount, _transfer(charge_id(job), entries, at, job, "charge")


def insured_pay_for(
    job: JobId, shares: Shares, work: Work, due: Ucredits, *, fund: Ucredits, at: datetime
) -> Transfer | None:
    """What the customer does not pay and the Island is still due: positions of a job that failed through us, and
    reading again what another Island had read before.

    The Island gets its share of `due`. `fund` is what the insurance account holds; it pays no more than that.
    """
    pay = min(split(due, shares).islands, fund)
    if pay <= 0:
        return None
    entries: dict[AccountId, int] = {INSURANCE: -pay}
    _add(entries, owner_account(work.owner_id), pay)
    return _transfer(insured_pay_id(job, work.epoch), entries, at, job, "insured pay")


def _add(entries: dict[AccountId, int], account: AccountId, amount: int) -> None:
    if amount:
        entries[account] = entries.get(account, 0) + amount


def _transfer(
    id_: str, entries: dict[AccountId, int], at: datetime, job: JobId, note: str
) -> Transfer:
    return Transfer(id_, {a: Ucredits(n) for a, n in entries.items()}, at, job, note)
