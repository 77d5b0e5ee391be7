"""The answers that one Coordinator process relays, by job."""

from __future__ import annotations

from typing import Final

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.prefixes import Prefix

KEPT_MAX: Final = 20_000
"""Beyond so many, the oldest finished ones that nobody reads make room; PostgreSQL has them."""


class Answers:
    """A registry of running and lately finished answers. Not for two threads."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._by_job: dict[JobId, Answer] = {}
        self._kept_max = kept_max
        self._asked: dict[tuple[UserId, str], Job] = {}
        """By who asked, and the key of the request."""
        self._keys: dict[JobId, tuple[UserId, str]] = {}

    def open(
        self,
        job_id: JobId,
        *,
        items_max: int,
        size_bytes_max: int,
        now: float,
        interactive: bool = True,
        goes_on_unread: bool = False,
        workload: str = "",
        prefixes: tuple[Prefix, ...] = (),
    ) -> Answer:
        """The answer of this job; a new one where there is none yet."""
        answer = self._by_job.get(job_id)
        if answer is None:
            answer = Answer(
                job_id,
                items_max=items_max,
                size_bytes_max=size_bytes_max,
                now=now,
                interactive=interactive,
                goes_on_unread=goes_on_unread,
                workload=workload,
                prefixes=prefixes,
            )
            self._by_job[job_id] = answer
            if len(self._by_job) > self._kept_max:
                self._make_room()
        return answer

    def get(self, job_id: JobId) -> Answer | None:
        """Whatever this process has of it, be it a copy."""
        return self._by_job.get(job_id)

    def own(self, job_id: JobId) -> Answer | None:
        """The answer of a job whose home is this process; no copy."""
        answer = self._by_job.get(job_id)
        return None if answer is None or answer.follows else answer

    def drop(self, job_id: JobId) -> None:
        self._by_job.pop(job_id, None)
        key = self._keys.pop(job_id, None)
        if key is not None and key in self._asked and self._asked[key].id == job_id:
            del self._asked[key]

    def remember(self, job: Job) -> None:
        """What this job was asked for with, for whoever asks the same again. Only a job that stands in the database,
        and whose answer is open here."""
        if job.idempotency_key is not None and job.id in self._by_job:
            key = (job.user_id, job.idempotency_key)
            self._asked[key], self._keys[job.id] = job, key

    def asked(self, user: UserId, idempotency_key: str) -> Job | None:
        """The job of this request as it was remembered, while its answer goes on or has come to a good end."""
        job = self._asked.get((user, idempotency_key))
        answer = None if job is None else self._by_job.get(job.id)
        if answer is None or (answer.final and answer.final.cause is not Cause.COMPLETED):
            return None
        return job

    def all(self) -> list[Answer]:
        return list(self._by_job.values())

    def _make_room(self) -> None:
        """A tenth at once, so that not every new answer looks through all of them."""
        over = [a.job_id for a in self._by_job.values() if a.final is not None and not a.readers]
        for job_id in over[: max(1, self._kept_max // 10)]:
            self.drop(job_id)

    def __len__(self) -> int:
        return len(self._by_job)
