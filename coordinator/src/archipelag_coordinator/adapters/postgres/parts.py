"""Accounts that every settlement of the network pays into, kept in several rows so that settlements need not queue.

The first part has the account's own name, the others end in `#01` to `#15`. Outside of this adapter there are only
whole accounts. The database guards each part like any account, so that the whole is never below zero either.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from archipelag_contracts.ids import JobId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.ledger import FEES, INSURANCE, AccountId, Transfer

PARTED: Final = frozenset({FEES, INSURANCE})
PARTS: Final = 16
"""Of which one is locked by each payment in, and all by a payment out. More need a migration that makes the rows."""


def parts_of(account: AccountId) -> list[AccountId]:
    """In the order in which they are emptied; an account that is not parted is its own only part."""
    if account not in PARTED:
        return [account]
    return [account, *(AccountId(f"{account}#{number:02d}") for number in range(1, PARTS))]


def part_for(account: AccountId, transfer: Transfer) -> AccountId:
    """Where what arrives goes: by the job, so that it is the same whenever it is posted."""
    return _part_of(account, transfer.job_id or transfer.id)


def locked_for(account: AccountId, job: JobId) -> list[AccountId]:
    """The rows that a settlement of this job touches: the insurance is paid from as well as into, others only into."""
    return parts_of(account) if account == INSURANCE else [_part_of(account, job)]


def _part_of(account: AccountId, cause: str) -> AccountId:
    parts = parts_of(account)
    return parts[zlib.crc32(cause.encode()) % len(parts)]


def paid_out(transfer: Transfer) -> list[AccountId]:
    """The parted accounts that this transfer takes from."""
    return [name for name, amount in transfer.entries.items() if amount < 0 and name in PARTED]


def rows_of(transfer: Transfer, available: Mapping[AccountId, int]) -> dict[AccountId, Ucredits]:
    """The entries as rows: what leaves a parted account is taken from its parts in order, where `available` has it.

    What they all do not have stays on the first part, which the posting then refuses.
    """
    rows: dict[AccountId, Ucredits] = {}
    for account, amount in transfer.entries.items():
        if account not in PARTED or amount > 0:
            rows[part_for(account, transfer)] = amount
            continue
        missing = -amount
        for part in parts_of(account):
            taken = min(missing, max(0, available.get(part, 0)))
            missing -= taken
            if taken:
                rows[part] = Ucredits(-taken)
        if missing:
            rows[account] = Ucredits(rows.get(account, 0) - missing)
    return rows


def whole(rows: Iterable[tuple[str, int]]) -> dict[AccountId, Ucredits]:
    """Entries of rows, as entries of accounts."""
    entries: dict[AccountId, Ucredits] = {}
    for name, amount in rows:
        account = AccountId(name.partition("#")[0])
        entries[account] = Ucredits(entries.get(account, 0) + amount)
    return entries


def names(accounts: Sequence[AccountId]) -> list[AccountId]:
    """The rows of these accounts."""
    return [part for account in accounts for part in parts_of(account)]
