"""What the verbs need from the world in order to say how long a job waits. All of it is read, none is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from archipelag_contracts.ids import CargoDigest, JobId

from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.lines import Line, Standing


class LinesOfAll(Protocol):
    async def all(self, limit: int) -> list[Line]:
        """Lines in which somebody waits or has a slot, whoever's home they are; those with most first."""
        ...

    async def before(self, job: Job) -> int:
        """How many of the job's own line wait and come before it."""
        ...

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        """Those of them that wait, in the order of their ids."""
        ...

    async def held_lately(self, limit: int) -> list[tuple[CargoDigest, float]]:
        """Of the newest jobs that succeeded: the Cargo, and seconds from the first attempt to the end; oldest first."""
        ...
