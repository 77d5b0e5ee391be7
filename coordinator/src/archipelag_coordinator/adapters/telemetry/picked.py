"""Single numbers out of what a scrape is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import assert_never

from prometheus_client.metrics_core import Metric

from archipelag_coordinator.domain.essentials import Across, Sample


def picked(families: Iterable[Metric], wanted: Collection[Sample]) -> Mapping[Sample, float]:
    """Each wanted one that is told at all."""
    by_name: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in wanted:
        by_name[sample.name].append(sample)
    found: defaultdict[Sample, list[float]] = defaultdict(list)
    for family in families:
        for told in family.samples:
            for sample in by_name.get(told.name, ()):
                if sample.label is None or told.labels.get(sample.label[0]) == sample.label[1]:
                    found[sample].append(told.value)
    return {sample: _one(values, sample.across) for sample, values in found.items()}


def _one(values: list[float], across: Across) -> float:
    match across:
        case Across.SUM:
            return sum(values)
        case Across.MOST:
            return max(values)
        case Across.LEAST:
            return min(values)
        case Across.FARTHEST:
            return max(abs(value) for value in values)
        case _:
            assert_never(across)
