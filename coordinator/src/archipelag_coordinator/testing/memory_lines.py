"""The lines before the slots, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from archipelag_contracts.ids import CargoDigest, JobId

from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.lines import Line, LineKey, Standing
from archipelag_coordinator.testing.memory_state import State


class MemoryLines:
    def __init__(self, state: State) -> None:
        self._state = state

    async def all(self, limit: int) -> list[Line]:
        queued = [job for job in self._state.jobs if job.status is JobStatus.QUEUED]
        waiting = Counter(_line_of(job) for job in queued)
        running = Counter(
            _line_of(job) for job in self._state.jobs if job.status is JobStatus.RUNNING
        )
        since = {
            key: min(job.created_at for job in queued if _line_of(job) == key) for key in waiting
        }
        lines = [
            Line(key, waiting[key], running[key], since.get(key))
            for key in waiting.keys() | running.keys()
        ]
        return sorted(lines, key=lambda line: (-line.queued - line.running, line.key))[:limit]

    async def before(self, job: Job) -> int:
        mine = (-job.priority, job.created_at, job.id)
        return sum(
            (-other.priority, other.created_at, other.id) < mine
            for other in self._state.jobs
            if other.status is JobStatus.QUEUED and _line_of(other) == _line_of(job)
        )

    async def standing(self, jobs: Sequence[JobId]) -> list[Standing]:
        return [
            Standing(job.id, _line_of(job), await self.before(job), job.created_at)
            for job in sorted(self._state.jobs, key=lambda job: job.id)
            if job.id in jobs and job.status is JobStatus.QUEUED
        ]

    async def held_lately(self, limit: int) -> list[tuple[CargoDigest, float]]:
        done = [job for job in self._state.jobs if job.status is JobStatus.SUCCEEDED]
        done = sorted(done, key=lambda job: job.id)[-limit:]
        return [
            (job.cargo_digest, (job.ended_at - job.started_at).total_seconds())
            for job in done
            if job.started_at is not None and job.ended_at is not None
        ]


def _line_of(job: Job) -> LineKey:
    return LineKey(job.user_id, job.cargo_digest)
