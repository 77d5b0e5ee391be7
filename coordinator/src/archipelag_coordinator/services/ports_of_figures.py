"""What the verbs need in order to keep an hour of what Prometheus is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from archipelag_coordinator.domain.essentials import Sample


class Figures(Protocol):
    """Never raises for what cannot be read now: that is left out."""

    async def read(self, wanted: Collection[Sample]) -> Mapping[Sample, float]:
        """Of the very figures that a scrape is told. Those of database and broker may be a minute old."""
        ...


class NoFigures:
    """Nobody watches."""

    async def read(self, wanted: Collection[Sample]) -> Mapping[Sample, float]:  # noqa: ARG002
        return {}
