"""What the verbs need from the world in order to add up. All of it is read, none is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from archipelag_contracts.ids import IslandId, UserId

from archipelag_coordinator.domain.health import Chore
from archipelag_coordinator.domain.ledger import AccountId
from archipelag_coordinator.domain.sums import (
    Days,
    EarnedBy,
    EarnedSum,
    Moved,
    Place,
    Spent,
    SpentBy,
    Work,
)


class Sums(Protocol):
    async def spent(self, user: UserId, days: Days, by: SpentBy) -> list[Spent]:
        """Of this user's jobs that ended within these days; by group, keys and workloads too."""
        ...

    async def earned(self, island: IslandId, days: Days, by: EarnedBy) -> list[EarnedSum]:
        """Of this Island's attempts that ended within these days; by group."""
        ...

    async def work(self) -> list[Work]:
        """Everybody's, by workload."""
        ...

    async def chores(self) -> list[Chore]:
        """Persistent background work that has not succeeded, by name and state."""
        ...

    async def moved(
        self, user: UserId, accounts: Sequence[AccountId], *, before: Place | None, limit: int
    ) -> list[Moved]:
        """Entries in these accounts of this user, newest first, from `before` on."""
        ...
