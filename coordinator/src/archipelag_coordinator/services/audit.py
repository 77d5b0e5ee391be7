"""What shows whether a network is run honestly: the log of what administrators did, and the books rebuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archipelag_coordinator.domain.audit import Entry, Head, broken_at
from archipelag_coordinator.domain.ledger import Account
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.services.world import World

READ_AT_ONCE: Final = 1_000


@dataclass(frozen=True)
class AuditCheck:
    """`broken_at` is the first entry that was changed, removed or moved; None: the log is whole, and ends at `head`."""

    entries: int
    broken_at: int | None
    head: Head


async def read_audit(world: World, *, limit: int, before: int | None = None) -> list[Entry]:
    """Newest first; those with a number below `before`."""
    async with world.store.begin() as tx:
        return await tx.audit.newest(limit, before)


async def check_audit(world: World) -> AuditCheck:
    """Follows the log from its first entry to where it says that it ends.

    Whoever can write past the database's guards can write a whole other log: its hash, kept elsewhere, shows that.
    """
    found = await check_log(world.store)
    world.tally.audit_broken = found.broken_at is not None
    return found


async def check_log(store: Store) -> AuditCheck:
    """The same, of a database that no network runs on."""
    async with store.begin() as tx:
        head = await tx.audit.head()
    at, broken = Head(), None
    while broken is None and at.number < head.number:
        async with store.begin() as tx:
            entries = await tx.audit.after(at.number, READ_AT_ONCE)
        # What was noted since it began is for the next check.
        entries = [entry for entry in entries if entry.number <= head.number]
        broken = broken_at(at, entries) if entries else at.number + 1
        if entries:
            at = Head(entries[-1].number, entries[-1].hash)
    if broken is None and at != head:
        broken = head.number
    return AuditCheck(head.number, broken, head)


async def audit_ledger(world: World) -> list[tuple[Account, Account]]:
    """(kept, rebuilt) of every account that drifted. Empty is right; anything else needs a person."""
    async with world.store.begin() as tx:
        drifted = await tx.ledger.rebuild()
    world.tally.rebuilt(len(drifted), world.clock.now())
    return drifted
