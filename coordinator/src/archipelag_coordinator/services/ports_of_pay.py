"""What the verbs need to settle a job: the ledger, what attempts used and were paid, and karma. Part of `ports`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import IslandId, JobId, UserId

from archipelag_coordinator.domain.karma import Note, Tally
from archipelag_coordinator.domain.ledger import Account, AccountId, Pay, Reservation, Transfer
from archipelag_coordinator.domain.usage import Earned, UsageRow


class Ledger(Protocol):
    async def account(self, account: AccountId) -> Account:
        """An account that was never used has nothing in it."""
        ...

    async def transfer(self, transfer: Transfer) -> bool:
        """Posts it. False when this id is posted already with the same entries; raises AlreadyPosted with others,
        InsufficientCredits when an account that may not would go below zero."""
        ...

    async def reserve(self, reservation: Reservation) -> None:
        """Raises InsufficientCredits. The same job twice changes nothing."""
        ...

    async def post(self, job: JobId, transfer: Transfer | None) -> bool:
        """Releases the job's reservation and posts its charge in one step. False when it was no longer pending:
        then nothing is posted."""
        ...

    async def void(self, job: JobId) -> bool:
        """Releases the job's reservation. False when it was no longer pending."""
        ...

    async def lock(self, job: JobId, accounts: Iterable[AccountId]) -> None:
        """Until this transaction ends, nobody else moves what is in these accounts or the job's reservation. Who posts
        several transfers in one transaction locks what they all touch first, or two of them could wait for each
        other."""
        ...

    async def expire(self, now: datetime, limit: int) -> list[JobId]:
        """Expires pending reservations past their time whose job is finished or gone."""
        ...

    async def reservation(self, job: JobId) -> Reservation | None: ...
    async def transfers_of(self, account: AccountId, *, limit: int, offset: int) -> list[Transfer]:
        """Newest first."""
        ...

    async def rebuild(self) -> list[tuple[Account, Account]]:
        """(kept, rebuilt from entries and reservations) of every account where the two differ. Empty is right."""
        ...


class Usages(Protocol):
    """What ended attempts used and were paid. The rows are written by whoever saves the attempt or posts the transfer:
    nothing can be ended or paid without them."""

    async def of_job(self, job: JobId) -> list[UsageRow]:
        """By epoch."""
        ...

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[UsageRow]:
        """Newest first."""
        ...

    async def pays_of(self, jobs: Sequence[JobId]) -> list[Pay]:
        """By job, epoch and kind."""
        ...

    async def owe(self, pay: Pay) -> None:
        """Writes down what the insurance could not pay, or was not allowed to."""
        ...

    async def earned(self, owner: UserId, since: datetime) -> Earned:
        """What this owner was paid after `since`. Until this transaction ends, nobody else reads it in order to pay
        them from the insurance."""
        ...


class KarmaNotes(Protocol):
    """Notes are written by whoever saves the attempt's end."""

    async def of_island(self, island: IslandId, *, limit: int, offset: int) -> list[Note]:
        """Newest first."""
        ...

    async def tally(self, island: IslandId) -> list[Tally]:
        """All of its notes, by kind."""
        ...
