"""Our plain numbers in the shape of Prometheus: made at a scrape, forgotten after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from archipelag_coordinator.domain.histogram import Example, Histogram

Key = TypeVar("Key", bound="str | tuple[str, ...]")
"""The value of the one label, or of all, in their order."""


def counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def counters(name: str, text: str, labels: Sequence[str], values: Mapping[Key, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(_labels(key), value)
    return family


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, labels: Sequence[str], values: Mapping[Key, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(_labels(key), value)
    return family


def histogram(name: str, text: str, measured: Histogram) -> Metric:
    """With an exemplar for each bucket whose newest measurement is traced."""
    family = HistogramMetricFamily(name, text)
    bounds = [*(repr(bound) for bound in measured.bounds_s), "+Inf"]
    for index, (bound, count) in enumerate(zip(bounds, measured.rising(), strict=True)):
        exemplar = _exemplar(measured.examples.get(index))
        family.add_sample(f"{name}_bucket", {"le": bound}, count, exemplar=exemplar)
    family.add_sample(f"{name}_count", {}, measured.count)
    family.add_sample(f"{name}_sum", {}, measured.sum_s)
    return family


def from_nothing(keys: Iterable[str], counted: Mapping[str, int]) -> dict[str, int]:
    """Counted from 0 for every known key: what first shows with 1 has no rate."""
    return {**dict.fromkeys(keys, 0), **counted}


def _exemplar(example: Example | None) -> Exemplar | None:
    if example is None:
        return None
    return Exemplar({"trace_id": example.trace_id}, example.seconds, example.at)


def _labels(key: str | tuple[str, ...]) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else key
