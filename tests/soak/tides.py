"""What goes on during a soak: Islands come for a while and leave, others are struck, Coordinators are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from random import Random
from signal import SIGTERM
from typing import Final

from tests.chaos import faults
from tests.chaos.faults import Log
from tests.chaos.network import Hosts, Network
from tests.chaos.parts import Island

STRIKES: Final = ("kill Island", "freeze Island", "drain Island", "kill Cargo")
"""What needs no proxy between the parts."""
VISITORS: Final = 1
"""At once."""
AWAY_S: Final = (0.5, 2.0)
"""How long a Coordinator is gone between two processes."""


class Tides:
    """Each goes on until `stop` is set, and then ends with everything whole. Intervals in seconds."""

    def __init__(self, network: Network, log: Log, chance: Random) -> None:
        self._network = network
        self._log = log
        self._chance = chance
        self._enrolling = asyncio.Lock()
        """Who enrols needs the first Coordinator."""
        self.stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def on(
        self, *, strike_every_s: float, visit_every_s: float, replace_every_s: float
    ) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._strike(strike_every_s))
            group.create_task(self._visit(visit_every_s))
            group.create_task(self._replace(replace_every_s))
            try:
                yield
            finally:
                self.stop.set()

    async def _strike(self, every_s: float) -> None:
        """Visitors count as struck, so that nobody else strikes them. The first Island is spared: what lives for some
        minutes at most says nothing of what grows."""
        await faults.strike_islands(
            self._network,
            self._log,
            self._chance,
            faults=STRIKES,
            at_once=1 + VISITORS,
            every_s=(every_s / 2, every_s * 3 / 2),
            spared={self._network.islands[0].name},
            stop=self.stop,
        )

    async def _visit(self, every_s: float) -> None:
        """New Islands, each with a key and an owner of its own, that work for a while and never come back."""
        slots = self._network.plan.hosts[0].slots
        for number in itertools.count():
            if await self._over(every_s / 2):
                return
            async with self._enrolling:
                island = await self._network.add_island(Hosts(1, slots=slots))
            async with self._log.strike("come and go", island.name, island.id) as strike:
                await self._over(every_s / 2)
                strike.note = await _leave(island, well=number % 3 < 2)
                self._network.islands.remove(island)

    async def _replace(self, every_s: float) -> None:
        """One Coordinator after another, in turn."""
        for one in itertools.cycle(self._network.coordinators):
            if await self._over(every_s):
                return
            async with self._enrolling:
                away_s = self._chance.uniform(*AWAY_S)
                await faults.restart_coordinator(self._network, self._log, one, away_s)

    async def _over(self, seconds: float) -> bool:
        """After so long, or once it is time to stop: whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        return self.stop.is_set()


async def _leave(island: Island, *, well: bool) -> str:
    assert island.process is not None
    if not well:
        await island.kill()
        return "SIGKILL"
    island.process.signal(SIGTERM)
    drained = await asyncio.to_thread(island.process.wait, faults.BACK_S)
    return "drained" if drained else "DID NOT END"
