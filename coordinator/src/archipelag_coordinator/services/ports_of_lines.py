"""What the verbs need from the world in order to say how long a job waits. All of it is read, none is written."""

from __future__ import annotations

from typing import Protocol

from archipelag_contracts.ids import CargoDigest

from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.lines import Line


class LinesOfAll(Protocol):
    async def all(self, limit: int) -> list[Line]:
        """Lines in which somebody waits or has a slot, whoever's home they are; those with most first."""
        ...

    async def before(self, job: Job) -> int:
        """How many of the job's own line wait and come before it."""
        ...

    async def held_lately(self, limit: int) -> list[tuple[CargoDigest, float]]:
        """Of the newest jobs that succeeded: the Cargo, and seconds from the first attempt to the end; oldest first."""
        ...
