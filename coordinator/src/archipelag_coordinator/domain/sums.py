"""Sums: what people spent and earned over days, and what moved in their accounts, as it is told to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final

from archipelag_contracts.ids import ApiKeyId, JobId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.ledger import OWNER_PREFIX, AccountId
from archipelag_coordinator.errors import InvalidInput

DAYS_MAX: Final = 366
DAYS_DEFAULT: Final = 30


@dataclass(frozen=True)
class Days:
    """UTC days, the first and the last included."""

    first: date
    last: date

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The first moment that is not included."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)


def days_of(first: date | None, last: date | None, *, now: datetime) -> Days:
    """The days asked for; where an end is open, 30 of them, up to today. Raises InvalidInput."""
    last_day = last or now.astimezone(UTC).date()
    first_day = first or last_day - timedelta(days=DAYS_DEFAULT - 1)
    if last_day < first_day:
        raise InvalidInput({"to": ["must not be before `from`"]})
    if (last_day - first_day).days >= DAYS_MAX:
        raise InvalidInput({"from": [f"must be {DAYS_MAX} days or less before `to`"]})
    return Days(first_day, last_day)


class SpentBy(StrEnum):
    DAY = "day"
    KEY = "key"
    WORKLOAD = "workload"


@dataclass(frozen=True)
class Spent:
    """Of the jobs of one day, key or workload that ended."""

    group: str | None
    """A day as `2026-11-01`, a key's id, or a slug. None: jobs without a key."""
    name: str | None = None
    """Of the key."""
    jobs: int = 0
    prompt_tokens: int = 0
    output_items: int = 0
    charged: Ucredits = ZERO


class EarnedBy(StrEnum):
    DAY = "day"
    WORKLOAD = "workload"


@dataclass(frozen=True)
class EarnedSum:
    """Of an Island's attempts of one day or workload that ended."""

    group: str
    attempts: int = 0
    completed: int = 0
    output_items: int = 0
    """Accepted of it, be they in the answer or made anew by another."""
    prompt_tokens: int = 0
    wall_ms: int = 0
    charged: Ucredits = ZERO
    insured: Ucredits = ZERO
    owed: Ucredits = ZERO


@dataclass(frozen=True)
class Place:
    """Where a list of moves was read up to: the last one that was seen."""

    at: datetime
    transfer_id: str
    account_id: AccountId


@dataclass(frozen=True)
class Work:
    """Of one workload, what has not ended."""

    workload: str
    queued: int
    running: int
    oldest_at: datetime | None
    """Since when the oldest of those queued has stood."""


class MoveKind(StrEnum):
    GRANT = "grant"
    CHARGE = "charge"
    EARNING = "earning"
    INSURED = "insured"
    OTHER = "other"


@dataclass(frozen=True)
class Moved:
    """One entry of a transfer in one of a person's accounts."""

    transfer_id: str
    account_id: AccountId
    at: datetime
    amount: Ucredits
    balance_after: Ucredits
    """Of the account, by the order in which its entries are listed."""
    job_id: JobId | None
    key_id: ApiKeyId | None
    """Through which the job was asked for, where it is this person's own."""
    note: str

    @property
    def place(self) -> Place:
        return Place(self.at, self.transfer_id, self.account_id)

    @property
    def is_earnings(self) -> bool:
        """In the account of what a person's Islands earn, not in that which they spend from."""
        return self.account_id.startswith(OWNER_PREFIX)

    @property
    def kind(self) -> MoveKind:
        """By the cause, which a transfer's id is made from."""
        match self.transfer_id.partition(":")[0]:
            case "grant":
                return MoveKind.GRANT
            case "charge":
                return MoveKind.EARNING if self.is_earnings else MoveKind.CHARGE
            case "insured":
                return MoveKind.INSURED
        return MoveKind.OTHER
