"""The broker's own figures, asked of the monitoring door of each of its servers, under the names of its exporter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import httpx
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0
STREAMS_MAX: Final = 64

# Field of /varz → what it tells. The exporter calls all of them gauges, and so do we.
VARZ: Final = {
    "connections": "Connections that are open.",
    "total_connections": "Connections ever.",
    "subscriptions": "Subscriptions.",
    "in_msgs": "Messages that came.",
    "out_msgs": "Messages that were sent.",
    "in_bytes": "Bytes that came.",
    "out_bytes": "Bytes that were sent.",
    "slow_consumers": "Clients that were cut off since they read too slowly.",
    "mem": "Resident memory, in bytes.",
    "cpu": "Processor use, in percent.",
    "routes": "Connections to other servers of the cluster.",
    "leafnodes": "Leaf nodes that are connected.",
    "max_connections": "How many connections it takes.",
}
# Field of /jsz → name and what it tells.
JETSTREAM: Final = {
    "streams": ("total_streams", "Streams."),
    "consumers": ("total_consumers", "Consumers."),
    "messages": ("total_messages", "Messages that are kept."),
    "bytes": ("total_message_bytes", "Bytes that are kept."),
}


class BrokerMonitor:
    """Asks every server. One that does not answer is told as down, and the others are told all the same."""

    def __init__(self, urls: Sequence[str], client: httpx.AsyncClient | None = None) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def read(self) -> list[Metric]:
        asked = await asyncio.gather(*(self._ask(url) for url in self._urls))
        return list(_families(dict(zip(self._urls, asked, strict=True))))

    async def _ask(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        try:
            varz = await self._client.get(f"{url}/varz")
            jsz = await self._client.get(f"{url}/jsz", params={"streams": "true"})
            varz.raise_for_status()
            jsz.raise_for_status()
            return varz.json(), jsz.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("broker_monitor_silent url=%s error=%r", url, error)
            return None


def _families(
    told: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]] | None],
) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "gnatsd_up", "1 where the server's monitoring door answers.", labels=["server_id"]
    )
    for url, answer in told.items():
        up.add_metric([url], answer is not None)
    yield up
    here = {url: answer for url, answer in told.items() if answer is not None}
    for field, text in VARZ.items():
        family = GaugeMetricFamily(f"gnatsd_varz_{field}", text, labels=["server_id"])
        for url, (varz, _) in here.items():
            family.add_metric([url], _number(varz.get(field)))
        yield family
    for field, (name, text) in JETSTREAM.items():
        family = GaugeMetricFamily(f"jetstream_server_{name}", text, labels=["server_id"])
        for url, (_, jsz) in here.items():
            family.add_metric([url], _number(jsz.get(field)))
        yield family
    room = GaugeMetricFamily(
        "jetstream_server_max_storage", "Bytes that may be kept on disk.", labels=["server_id"]
    )
    for url, (_, jsz) in here.items():
        room.add_metric([url], _number(_mapping(jsz.get("config")).get("max_storage")))
    yield room
    yield from _streams({url: jsz for url, (_, jsz) in here.items()})


def _streams(told: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["server_id", "stream_name"]
    messages = GaugeMetricFamily(
        "jetstream_stream_total_messages", "Messages that a stream keeps.", labels=labels
    )
    size = GaugeMetricFamily(
        "jetstream_stream_total_bytes", "Bytes that a stream keeps.", labels=labels
    )
    for url, jsz in told.items():
        streams = [
            stream
            for account in jsz.get("account_details") or ()
            for stream in account.get("stream_detail") or ()
        ]
        for stream in streams[:STREAMS_MAX]:
            state = stream.get("state", {})
            messages.add_metric([url, str(stream.get("name"))], _number(state.get("messages")))
            size.add_metric([url, str(stream.get("name"))], _number(state.get("bytes")))
    yield messages
    yield size


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
