"""Who pays what when a job has ended: pure arithmetic over its attempts.

An Island's pay does not depend on how the job ended; who pays it does. It is the Islands' share of the price of what
the attempt did: its accepted positions, the prompt that it read, and the answer so far that it read again. What the
customer pays for goes out of the charge; the rest is due from the insurance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from archipelag_contracts.ids import Epoch, JobId, UserId
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.attempt import Attempt, Cause
from archipelag_coordinator.domain.ledger import (
    FEES,
    INSURANCE,
    AccountId,
    Pay,
    PayKind,
    Transfer,
    charge_id,
    insured_pay_id,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.pricing import Shares, charge, share_out, split
from archipelag_coordinator.domain.usage import UNPAID, tiles


@dataclass(frozen=True)
class Work:
    """What one attempt did: the owner of its Island, its epoch, and which positions were accepted from it."""

    owner_id: UserId
    epoch: Epoch
    first_position: int
    next_position: int
    completed: bool = False
    """It ended the answer, which is work even where it added nothing."""

    @property
    def positions(self) -> int:
        return self.next_position - self.first_position


@dataclass(frozen=True)
class Bill:
    """A job's price to its customer, and what is due to its Islands beyond that."""

    charged: Ucredits
    charge: Transfer | None
    """None: the customer pays nothing."""
    due: tuple[tuple[Work, Ucredits], ...]
    """From the insurance; amounts above zero only."""


def paid_attempts(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Those that are paid for what they did, in order of epoch: ended, and not by breaking the protocol."""
    return sorted(
        (
            a
            for a in attempts
            if a.finished
            and a.cause not in UNPAID
            and (a.positions or a.cause in (Cause.COMPLETED, Cause.CANCELLED))
        ),
        key=lambda a: a.epoch,
    )


def prompt_tokens_of(attempts: Sequence[Attempt], tokens_max: int) -> int:
    """The prompt's tokens: the least that any of its Islands said, so that one cannot inflate what another counted."""
    said = [a.usage.prompt_tokens for a in attempts if a.usage.prompt_tokens > 0]
    return min([*said, tokens_max]) if said else 0


def bill_for(
    job: JobId,
    payer: UserId,
    price: Price,
    shares: Shares,
    *,
    prompt_tokens: int,
    output_items: int | None,
    work: Sequence[Work],
    reserved: Ucredits,
    at: datetime,
) -> Bill:
    """The user pays once for the prompt and for each of `output_items` delivered; None: for nothing at all.

    Never more than what was reserved: the upper bound was promised. `work` is in order of epoch.
    """
    stands = tiles([(w.first_position, w.next_position) for w in work], output_items or 0)
    reader = next((i for i, tile in enumerate(stands) if tile), len(work) - 1)
    weights = [len(tile) * price.output_item_ucredits for tile in stands]
    if work:
        weights[reader] += prompt_tokens * price.prompt_token_ucredits
    amount = ZERO
    if output_items is not None and work:
        amount = Ucredits(min(charge(price, prompt_tokens, output_items), reserved))
    in_charge = weights if amount else [0] * len(work)
    return Bill(
        amount,
        _charge(job, payer, shares, amount, work, weights, stands, at) if amount else None,
        _due(price, shares, prompt_tokens, work, in_charge),
    )


def insured_pay_for(
    job: JobId, work: Work, due: Ucredits, *, limit: Ucredits, at: datetime
) -> tuple[Transfer | None, Pay | None]:
    """What the insurance pays of what is due, and what it then still owes. `limit` is what it may and can pay."""
    amount = Ucredits(max(0, min(due, limit)))
    transfer, owed = None, None
    if amount:
        entries: dict[AccountId, int] = {INSURANCE: -amount, owner_account(work.owner_id): amount}
        paid = Pay(job, work.epoch, work.owner_id, PayKind.INSURED, amount, at)
        transfer = _transfer(
            insured_pay_id(job, work.epoch), entries, at, job, "insured pay", (paid,)
        )
    if due > amount:
        owed = Pay(job, work.epoch, work.owner_id, PayKind.OWED, Ucredits(due - amount), at)
    return transfer, owed


def _charge(
    job: JobId,
    payer: UserId,
    shares: Shares,
    amount: Ucredits,
    work: Sequence[Work],
    weights: list[int],
    stands: Sequence[range],
    at: datetime,
) -> Transfer:
    parts = split(amount, shares)
    if not any(weights):
        # A Cargo that is paid by the job: by positions, or all to who ended an answer of no items.
        weights = [len(tile) for tile in stands]
        weights[-1] += not any(weights)
    entries: dict[AccountId, int] = {user_account(payer): -amount}
    pays = []
    for one, pay in zip(work, share_out(parts.islands, weights), strict=True):
        _add(entries, owner_account(one.owner_id), pay)
        if pay:
            pays.append(Pay(job, one.epoch, one.owner_id, PayKind.CHARGE, pay, at))
    _add(entries, FEES, parts.fees)
    _add(entries, INSURANCE, parts.insurance)
    return _transfer(charge_id(job), entries, at, job, "charge", tuple(pays))


def _due(
    price: Price, shares: Shares, prompt_tokens: int, work: Sequence[Work], in_charge: list[int]
) -> tuple[tuple[Work, Ucredits], ...]:
    """What each did that the customer does not pay for, at the Islands' share of its price."""
    found = []
    for one, paid in zip(work, in_charge, strict=True):
        if not one.positions and not one.completed:
            continue  # It shows nothing that it did.
        read = prompt_tokens + one.first_position
        did = one.positions * price.output_item_ucredits + read * price.prompt_token_ucredits
        due = split(Ucredits(max(0, did - paid)), shares).islands
        if due:
            found.append((one, due))
    return tuple(found)


def _add(entries: dict[AccountId, int], account: AccountId, amount: int) -> None:
    if amount:
        entries[account] = entries.get(account, 0) + amount


def _transfer(
    id_: str,
    entries: dict[AccountId, int],
    at: datetime,
    job: JobId,
    note: str,
    pays: tuple[Pay, ...],
) -> Transfer:
    return Transfer(id_, {a: Ucredits(n) for a, n in entries.items()}, at, job, note, pays)
