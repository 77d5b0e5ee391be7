"""Two regions of real processes: a Coordinator and a broker in each, one database, a link between the brokers."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from archipelag_coordinator.adapters.nats import credentials, links
from archipelag_coordinator.domain.link import Link
from archipelag_embedded.nats import Nats
from archipelag_embedded.process import free_port

from benchmarks.far import Line
from tests.trouble.rig import Rig

WAY_S = 0.3
"""From one region to the other; a round trip is twice that. So far that no busy machine makes up for it."""


class Region(Rig):
    """One region. `first`: the other one, whose database, keys and broker this one joins; None: it is the first."""

    def __init__(self, home: Path, name: str, first: Region | None = None) -> None:
        super().__init__(home, ARCHIPELAG_REGION=name, ARCHIPELAG_BLOBS="nats:east")
        self.name = name
        self._first = first
        self.nats = Nats(home / "nats", domain=name)
        self.links_port = free_port()
        """Where the other region's broker may join, in the first one."""
        self.link = Line(lambda: first.links_port if first else 0, WAY_S)
        """Of the second region, to the first."""
        if first is not None:
            self.keys, self.postgres = first.keys, first.postgres

    async def _start_database(self) -> None:
        if self._first is None:
            await super()._start_database()

    async def _stop_database(self) -> None:
        if self._first is None:
            await super()._stop_database()
        else:
            await self.link.close()

    async def _trust(self) -> str:
        trust = await super()._trust()
        if self._first is None:
            return trust + links.accepting_config(self.links_port)
        await self.link.open()
        return trust + self._joining(Link(self.name))

    def _joining(self, link: Link) -> str:
        keys, folder = credentials.load_keys(self.keys), self.home / f"link-{link.number}"
        links.write_links(keys, link, folder)
        at = f"nats-leaf://127.0.0.1:{self.link.port}"
        return links.joining_config(keys, [at], folder)

    async def joins_again(self, link: Link) -> None:
        """Its broker starts anew, with another link."""
        self.nats.stop()
        self.nats.configure(await super()._trust() + self._joining(link))
        self.nats.start()

    def _island_environment(self, number: int) -> dict[str, str]:
        return {"ARCHIPELAG_ISLAND_NAME": f"{self.name}-{number}"}

    @contextlib.asynccontextmanager
    async def without_island(self) -> AsyncIterator[None]:
        """Its Island stands still; on leaving, it has been heard again."""
        self.islands[0].signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.islands[0].signal(signal.SIGCONT)
        stood = time.time()

        async def heard() -> bool:
            query = "SELECT extract(epoch FROM seen_at)::float, status FROM islands WHERE name = %s"
            ((seen_at, status),) = self.rows(query, f"{self.name}-0")
            return bool(seen_at > stood and status == "ready")

        await self.until(heard, f"the Island of {self.name} is heard")

    async def why(self, job: str) -> list[str]:
        """What its Coordinator says of each attempt's placement."""
        told = (await self.http.get(f"/jobs/{job}/why")).json()["data"]["attempts"]
        return [str(attempt["why"]) for attempt in told]

    async def regions(self) -> str:
        """What this region's Coordinator says of the others."""
        told = (await self.http.get("/admin/health")).json()["data"]["parts"]
        return next(str(part["said"]) for part in told if part["name"] == "regions")

    async def reaches(self) -> bool:
        return "ms away" in await self.regions()

    async def reaches_nobody(self) -> bool:
        return "out of reach" in await self.regions()
