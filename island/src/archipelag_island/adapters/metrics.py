"""Figures of this Island for its owner's own Prometheus: on the loopback, and only where the owner asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from archipelag_island.domain.offer import OfferState
from archipelag_island.errors import BadSettings
from archipelag_island.services.world import World

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
HEAD_BYTES_MAX: Final = 8_192
READ_S: Final = 5.0
AT_ONCE_MAX: Final = 8
NAMES: Final = (b"localhost", b"127.0.0.1", b"[::1]")


class MetricsDoor:
    """`serve` answers `GET /metrics` until it is cancelled. Nothing of a customer is in it: no prompt, no job, no
    name."""

    def __init__(self, world: World, port: int, connected: Callable[[], bool]) -> None:
        """Raises BadSettings where the library for it is not installed."""
        try:
            import prometheus_client.core  # noqa: F401
        except ImportError:
            raise BadSettings(
                "ARCHIPELAG_ISLAND_METRICS_PORT needs a library: install archipelag-island[metrics]"
            ) from None
        self._world = world
        self._port = port
        self._connected = connected
        self._open = 0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._take, HOST, self._port, limit=HEAD_BYTES_MAX)
        log.info("metrics_open port=%d", self._port)
        async with server:
            await server.serve_forever()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= AT_ONCE_MAX:
                async with asyncio.timeout(READ_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            log.debug("metrics_request_not_read")
        finally:
            self._open -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        line, *rest = head.split(b"\r\n")
        hosts = [one[5:].strip().lower() for one in rest if one.lower().startswith(b"host:")]
        if len(hosts) != 1 or hosts[0].rsplit(b":", 1)[0] not in NAMES:
            # A page in a browser here may have a name of its own lead to this address.
            return _response(b"403 Forbidden", b"ask by the name localhost\n")
        if line.split(b" ")[:2] != [b"GET", b"/metrics"]:
            return _response(b"404 Not Found", b"there is /metrics only\n")
        return _response(b"200 OK", self._page())

    def _page(self) -> bytes:
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
        from prometheus_client.registry import Collector

        figures = self._figures

        class Told(Collector):
            def collect(self) -> Iterator[Metric]:
                return figures()

        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(Told())
        return bytes(generate_latest(registry))

    def _figures(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        world, now = self._world, self._world.now

        def gauge(name: str, text: str, value: float) -> Metric:
            return GaugeMetricFamily(f"archipelag_island_{name}", text, value=value)

        def counter(name: str, text: str, value: float) -> Metric:
            return CounterMetricFamily(f"archipelag_island_{name}", text, value=value)

        yield gauge("connected", "1 while the broker is connected.", self._connected())
        yield gauge("accepts_work", "1 while the network gives it work.", now.accepts_work)
        yield gauge("paused", "1 while its owner needs the machine.", now.owner.paused)
        yield gauge("draining", "1 while it takes no more work.", now.draining)
        yield gauge("slots", "Runs that it takes at once.", world.host.slots)
        yield gauge("runs", "Runs now.", len(now.runs))
        yield counter("runs_completed", "Runs that completed.", now.completed)
        yield counter("assignments_refused", "Assignments that it refused.", now.refused)
        round_trip_s = world.link.rtt_us() / 1e6
        yield gauge("round_trip_seconds", "To the broker and back.", round_trip_s)
        undelivered = sum(
            one.sealed is not None for one in world.journal.all() if not one.delivered
        )
        yield gauge("reports_waiting", "Reports that are not delivered yet.", undelivered)
        yield gauge("load", "Load of the machine by processor.", world.load())
        states = Counter(offer.state.value for offer in now.offers.values())
        cargos = GaugeMetricFamily(
            "archipelag_island_cargos", "Cargos of the catalogue here.", labels=["state"]
        )
        for state in OfferState:
            cargos.add_metric([state.value], states[state.value])
        yield cargos


def _response(status: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"
        b"content-length: %d\r\ncache-control: no-store\r\nconnection: close\r\n\r\n" % len(body)
    ) + body
