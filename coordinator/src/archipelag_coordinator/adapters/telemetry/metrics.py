"""The page that Prometheus reads: own figures at once, those of database and broker as they were a moment ago."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from archipelag_coordinator.adapters.postgres.figures import DatabaseFigures
from archipelag_coordinator.adapters.telemetry.broker import BrokerMonitor
from archipelag_coordinator.adapters.telemetry.families import gauges
from archipelag_coordinator.adapters.telemetry.network_figures import (
    NetworkFigures,
    network_figures,
)
from archipelag_coordinator.adapters.telemetry.own_figures import Innards, own_figures
from archipelag_coordinator.adapters.telemetry.picked import picked
from archipelag_coordinator.domain.essentials import Sample
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_S: Final = 5.0
"""However often somebody scrapes, database and broker are asked no more often than that."""
NOTED_S: Final = 55.0
"""Whoever keeps one figure a minute has them asked no more often than that."""
READ_MAX_S: Final = 4.0
"""Below Prometheus's own patience: what does not come in time is left out, and the rest is told."""


class Metrics:
    """`page` is one scrape. What cannot be read now is left out and told by `archipelag_scrape_part_up`."""

    def __init__(
        self,
        world: World,
        innards: Innards,
        database: Callable[[], Awaitable[DatabaseFigures]],
        broker: BrokerMonitor | None,
    ) -> None:
        self._world = world
        self._innards = innards
        self._database = database
        self._broker = broker
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self._network: NetworkFigures | None = None
        self._fabric: list[Metric] | None = None

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
        if self._network is not None:
            yield from network_figures(self._world, self._network)
        yield from self._fabric or ()
        up = {"database": self._network is not None}
        if self._broker is not None:
            up["broker"] = self._fabric is not None
        text = "1 where this part could be read for this page."
        yield gauges("archipelag_scrape_part_up", text, ["part"], up)

    async def _refresh(self, kept_s: float) -> None:
        async with self._reading:
            now = self._world.clock.monotonic()
            kept_s = kept_s if self._network is not None else KEPT_S
            if self._read_at is not None and now - self._read_at < kept_s:
                return
            self._network, self._fabric = await asyncio.gather(
                self._part("database", self._read_network), self._part("broker", self._read_broker)
            )
            self._read_at = now

    async def _part(self, name: str, read: Callable[[], Awaitable[T | None]]) -> T | None:
        try:
            async with asyncio.timeout(READ_MAX_S):
                return await read()
        except Exception as error:
            # The top of a door: whoever watches must be told of the other parts all the more.
            log.warning("scrape_part_missing part=%s error=%r", name, error)
            return None

    async def _read_network(self) -> NetworkFigures:
        world = self._world
        now = world.clock.now()
        async with world.store.begin() as tx:
            work = tuple(await tx.sums.work())
            chores = tuple(await tx.sums.chores())
            alive = await tx.coordinators.alive(now - timedelta(seconds=COORDINATOR_DEAD_S))
            leader = await tx.coordinators.has_leader()
        database = await self._database()
        return NetworkFigures(work, chores, len(alive), leader, database, now.timestamp())

    async def _read_broker(self) -> list[Metric] | None:
        return None if self._broker is None else await self._broker.read()


class _Told(Collector):
    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()
