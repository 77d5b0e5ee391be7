"""What the verbs need of the store to know which Coordinators there are."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.domain.health import Seen


class Coordinators(Protocol):
    async def beat(self, relay: RelayId, now: datetime, region: str = "") -> None:
        """`region`: where it stands, which never changes; empty where there is only one."""
        ...

    async def leave(self, relay: RelayId) -> None:
        """It stops for good: nobody need wait to see that it is gone."""
        ...

    async def alive(self, since: datetime) -> list[RelayId]: ...
    async def regions(self, since: datetime) -> dict[RelayId, str]:
        """Of those alive that stand in one: in which."""
        ...

    async def seen(self) -> list[Seen]:
        """Those that have not left, the last seen first; a hundred at most."""
        ...

    async def has_leader(self) -> bool:
        """Whether any of them leads."""
        ...
