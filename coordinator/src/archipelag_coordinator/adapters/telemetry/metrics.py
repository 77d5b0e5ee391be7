"""The page that Prometheus reads: own figures at once, those of database and broker as they were a moment ago."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from archipelag_coordinator.adapters.postgres.figures import Books, ServerFigures
from archipelag_coordinator.adapters.telemetry.broker import BrokerMonitor
from archipelag_coordinator.adapters.telemetry.families import gauges
from archipelag_coordinator.adapters.telemetry.network_figures import (
    NetworkFigures,
    ledger_figures,
    network_figures,
)
from archipelag_coordinator.adapters.telemetry.own_figures import Innards, own_figures
from archipelag_coordinator.adapters.telemetry.picked import picked
from archipelag_coordinator.domain.audit import BACKED_UP
from archipelag_coordinator.domain.essentials import Sample
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_S: Final = 5.0
"""However often somebody scrapes, database and broker are asked no more often than that."""
NOTED_S: Final = 55.0
"""Whoever keeps one figure a minute has them asked no more often than that."""
BOOKS_KEPT_S: Final = 60.0
"""Every account is read for them."""
READ_MAX_S: Final = 4.0
"""Below Prometheus's own patience: what does not come in time is left out, and the rest is told."""


class Metrics:
    """`page` is one scrape. What cannot be read now is left out and told by `archipelag_scrape_part_up`."""

    def __init__(
        self,
        world: World,
        innards: Innards,
        server: Callable[[], Awaitable[ServerFigures]],
        books: Callable[[], Awaitable[Books]],
        broker: BrokerMonitor | None,
    ) -> None:
        self._world = world
        self._innards = innards
        self._server = server
        self._reading = asyncio.Lock()
        self._network = Part("database", self._read_network)
        self._ledger = Part("ledger", books, BOOKS_KEPT_S)
        self._fabric = Part("broker", broker.read) if broker is not None else None

    async def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type: OpenMetrics, which has exemplars, for whoever accepts it."""
        await self._refresh(KEPT_S)
        encode, media_type = choose_encoder(accept)
        return encode(self._told()), media_type

    async def read(self, wanted: Collection[Sample]) -> Mapping[Sample, float]:
        """Implements `Figures`."""
        await self._refresh(NOTED_S)
        return picked(self._told().collect(), wanted)

    def _told(self) -> CollectorRegistry:
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Told(self._families))
        return registry

    def _families(self) -> Iterator[Metric]:
        yield from own_figures(self._world, self._innards)
        if self._network.value is not None:
            yield from network_figures(self._world, self._network.value)
        if self._ledger.value is not None:
            now, clock = self._world.clock.now(), self._world.clock.monotonic()
            at = now.timestamp() - (clock - self._ledger.read_at)
            yield from ledger_figures(self._ledger.value, at)
        if self._fabric is not None:
            yield from self._fabric.value or ()
        up = {part.name: part.value is not None for part in self._parts()}
        text = "1 where this part could be read for this page."
        yield gauges("archipelag_scrape_part_up", text, ["part"], up)

    def _parts(self) -> list[Part[Any]]:
        return [part for part in (self._network, self._ledger, self._fabric) if part is not None]

    async def _refresh(self, kept_s: float) -> None:
        async with self._reading:
            now = self._world.clock.monotonic()
            await asyncio.gather(*(part.refresh(now, kept_s) for part in self._parts()))

    async def _read_network(self) -> NetworkFigures:
        world = self._world
        now = world.clock.now()
        async with world.store.begin() as tx:
            work = tuple(await tx.sums.work())
            chores = tuple(await tx.sums.chores())
            alive = await tx.coordinators.alive(now - timedelta(seconds=COORDINATOR_DEAD_S))
            leader = await tx.coordinators.has_leader()
            backed_up_at = await tx.audit.last(BACKED_UP)
        asked_at = world.clock.now().timestamp()
        server = await self._server()
        halfway = (asked_at + world.clock.now().timestamp()) / 2
        return NetworkFigures(
            work=work,
            chores=chores,
            coordinators=len(alive),
            has_leader=leader,
            backed_up_at=backed_up_at.timestamp() if backed_up_at else 0.0,
            server=server,
            clock_ahead_s=halfway - server.now,
            now=now.timestamp(),
        )


class Part(Generic[T]):
    """What is not this process's own: its newest figures, and when they were read. Not for two at once."""

    def __init__(
        self, name: str, read: Callable[[], Awaitable[T]], kept_least_s: float = KEPT_S
    ) -> None:
        self.name = name
        self.value: T | None = None
        """None: it was not read yet, or could not be."""
        self.read_at = float("-inf")
        """Monotonic seconds."""
        self._read = read
        self._kept_least_s = kept_least_s

    async def refresh(self, now: float, kept_s: float) -> None:
        """Reads anew what is older than that; what could not be read is tried again sooner."""
        kept_s = max(kept_s, self._kept_least_s) if self.value is not None else KEPT_S
        if now - self.read_at < kept_s:
            return
        self.value = None
        try:
            async with asyncio.timeout(READ_MAX_S):
                self.value = await self._read()
        except Exception as error:
            # The top of a door: whoever watches must be told of the other parts all the more.
            log.warning("scrape_part_missing part=%s error=%r", self.name, error)
        self.read_at = now


class _Told(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()
