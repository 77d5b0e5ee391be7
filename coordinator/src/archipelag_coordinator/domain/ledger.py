"""The ledger: accounts, transfers that balance, and reservations. Double entry in whole micro-credits.

A transfer's id is made from its cause, so that posting it twice changes nothing. Entries are never edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from archipelag_contracts.ids import Epoch, JobId, UserId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.errors import IllegalMove, UnbalancedTransfer

AccountId = NewType("AccountId", str)

FEES: Final = AccountId("platform:fees")
INSURANCE: Final = AccountId("platform:insurance")
ISSUANCE: Final = AccountId("platform:issuance")
GRANTS: Final = AccountId("platform:grants")
MAY_OVERDRAW: Final = frozenset({ISSUANCE, GRANTS})
"""Only these accounts may go below zero: credits enter the books through them."""


def user_account(user: UserId) -> AccountId:
    """What a person can spend."""
    return AccountId(f"user:{user}")


OWNER_PREFIX: Final = "island_owner:"


def owner_account(user: UserId) -> AccountId:
    """What a person earned with their Islands."""
    return AccountId(f"{OWNER_PREFIX}{user}")


class PayKind(StrEnum):
    CHARGE = "charge"  # out of what the customer paid
    INSURED = "insured"  # out of the insurance
    OWED = "owed"  # due from the insurance, which was empty, or its owner over the day's limit


@dataclass(frozen=True)
class Pay:
    """What an owner was paid for one attempt, or is owed: one of each kind at most, never changed."""

    job_id: JobId
    epoch: Epoch
    owner_id: UserId
    kind: PayKind
    amount: Ucredits
    at: datetime


@dataclass(frozen=True)
class Transfer:
    """Entries by account that add up to zero: negative leaves the account, positive arrives.

    Raises UnbalancedTransfer.
    """

    id: str
    entries: Mapping[AccountId, Ucredits]
    at: datetime
    job_id: JobId | None = None
    note: str = ""
    pays: tuple[Pay, ...] = field(default=(), compare=False)
    """Which attempts the owners' entries are for; kept with the transfer's first posting."""

    def __post_init__(self) -> None:
        if sum(self.entries.values()) != 0 or not self.entries or 0 in self.entries.values():
            raise UnbalancedTransfer(f"{self.id}: {dict(self.entries)}")


@dataclass(frozen=True)
class Account:
    """`available` is what may still be reserved or spent."""

    id: AccountId
    balance: Ucredits
    held: Ucredits

    @property
    def available(self) -> Ucredits:
        return Ucredits(self.balance - self.held)


class ReservationStatus(StrEnum):
    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


MOVES: Final = {
    ReservationStatus.PENDING: {
        ReservationStatus.POSTED,
        ReservationStatus.VOIDED,
        ReservationStatus.EXPIRED,
    },
    ReservationStatus.POSTED: set[ReservationStatus](),
    ReservationStatus.VOIDED: set[ReservationStatus](),
    ReservationStatus.EXPIRED: set[ReservationStatus](),
}


@dataclass(frozen=True)
class Reservation:
    """Credits held for a job. One a job, so that a retry reserves nothing more."""

    job_id: JobId
    account_id: AccountId
    amount: Ucredits
    status: ReservationStatus
    created_at: datetime
    expires_at: datetime

    def post(self) -> Reservation:
        return self._move(ReservationStatus.POSTED)

    def void(self) -> Reservation:
        return self._move(ReservationStatus.VOIDED)

    def expire(self) -> Reservation:
        return self._move(ReservationStatus.EXPIRED)

    def _move(self, to: ReservationStatus) -> Reservation:
        if to not in MOVES[self.status]:
            raise IllegalMove("reservation", self.status, to)
        return replace(self, status=to)


def grant(user: UserId, amount: Ucredits, cause: str, at: datetime) -> Transfer:
    """Credits given to a user; `cause` makes it once."""
    assert amount > 0
    entries = {GRANTS: Ucredits(-amount), user_account(user): amount}
    return Transfer(f"grant:{user}:{cause}", entries, at, note=cause)


def fund_insurance(amount: Ucredits, cause: str, at: datetime) -> Transfer:
    """Seed of the insurance account, which every charge fills further."""
    assert amount > 0
    return Transfer(
        f"insurance:{cause}", {ISSUANCE: Ucredits(-amount), INSURANCE: amount}, at, note=cause
    )


def charge_id(job: JobId) -> str:
    return f"charge:{job}"


def insured_pay_id(job: JobId, epoch: Epoch) -> str:
    return f"insured:{job}:{epoch}"
