"""What stands in a person's two accounts: what they may spend, what their Islands earned, and how it came to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from archipelag_contracts.ids import JobId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.ledger import (
    Account,
    AccountId,
    Transfer,
    owner_account,
    user_account,
)
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

LINES_MAX: Final = 1_000
"""Newest transfers of an account that are looked at; older ones stand in the export."""


@dataclass(frozen=True)
class Line:
    """One transfer, as its account sees it: what came or went, and what was in it then."""

    at: datetime
    kind: str
    amount: Ucredits
    after: Ucredits
    job_id: JobId | None
    note: str


@dataclass(frozen=True)
class Statement:
    """`lines` are the newest; `more` says whether there are older ones."""

    account: Account
    lines: tuple[Line, ...]
    more: bool


async def read_spending(world: World, user: User, *, limit: int, offset: int = 0) -> Statement:
    """Of the account that pays for jobs."""
    async with world.store.begin() as tx:
        return await _statement(tx, user_account(user.id), limit, offset)


async def read_earned(world: World, user: User, *, limit: int, offset: int = 0) -> Statement:
    """Of the account that Islands' pay comes into."""
    async with world.store.begin() as tx:
        return await _statement(tx, owner_account(user.id), limit, offset)


async def _statement(tx: Tx, account_id: AccountId, limit: int, offset: int) -> Statement:
    account = await tx.ledger.account(account_id)
    wanted = min(LINES_MAX, offset + limit + 1)
    # From the newest on: what was in it is told backwards from what is in it.
    found = await tx.ledger.transfers_of(account_id, limit=wanted, offset=0)
    lines, after = [], account.balance
    for transfer in found:
        amount = transfer.entries[account_id]
        lines.append(_line(transfer, amount, after))
        after = Ucredits(after - amount)
    return Statement(account, tuple(lines[offset : offset + limit]), len(lines) > offset + limit)


def _line(transfer: Transfer, amount: Ucredits, after: Ucredits) -> Line:
    kind = transfer.id.partition(":")[0]
    return Line(transfer.at, kind, amount, after, transfer.job_id, transfer.note)
