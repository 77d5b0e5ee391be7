"""Two regions for the session, and one event loop for all that use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest_asyncio

from tests.trouble.rig import opened

from .rig import Region


@dataclass
class Regions:
    """East has the database and lets west's broker join its own."""

    east: Region
    west: Region

    async def whole(self) -> None:
        """Everything runs, whatever the last test broke, and each region reaches the other."""
        self.west.link.mend()
        for one in (self.east, self.west):
            await one.whole()
            await one.until(one.reaches, f"{one.name} reaches the other region")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def regions() -> AsyncIterator[Regions]:
    async with opened("east", lambda home: Region(home, "east"), islands=1) as east:
        make = lambda home: Region(home, "west", east)  # noqa: E731
        async with opened("west", make, islands=1) as west:
            yield Regions(east, west)
