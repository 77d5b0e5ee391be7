"""What the verbs need so that nobody speaks on the fabric who may not: Islands, and brokers of other regions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from archipelag_contracts.ids import IslandId

from archipelag_coordinator.domain.link import Link


class Broker(Protocol):
    """Who may speak on the message fabric."""

    def credentials(
        self, public_key: bytes, island: IslandId, name: str, expires_at: datetime
    ) -> str:
        """A NATS user JWT for the Island's own key."""
        ...

    async def enforce(
        self, cut_off: Mapping[bytes, datetime], unlinked: Collection[Link] = ()
    ) -> None:
        """Cuts the connections of these keys and of these links, and refuses them from now on; all others may
        connect."""
        ...


class Links(Protocol):
    async def take_back(self, link: Link, now: datetime) -> bool:
        """For good. False where it was taken back before."""
        ...

    async def taken_back(self) -> list[Link]:
        """By region and number."""
        ...
