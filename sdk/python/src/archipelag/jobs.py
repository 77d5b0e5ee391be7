"""What both clients do with jobs: made, read, listed, followed, waited for."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from archipelag import errors, values, values_of_why
from archipelag import operations_of_jobs as operations
from archipelag.calls import AsyncCalls, Calls
from archipelag.errors import JobFailedError, StreamBrokenError
from archipelag.listing import Listing
from archipelag.places import JobPlace, async_events_of, events_of
from archipelag.transport import POLL_S


class JobCalls:
    """Jobs, in the client that waits."""

    def create_job(
        self: Calls,
        workload: str,
        input: Mapping[str, Any],  # noqa: A002  the API's own word
        *,
        priority: int | None = None,
        within_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> values.Job:
        """Submits a job. `within_s`: it is not begun, and costs nothing, where it cannot be done by then. The same
        `idempotency_key` gives the same job, however often it is sent."""
        return self.call(
            operations.create_job(workload, input, priority, idempotency_key, within_s)
        )

    def get_job(self: Calls, job_id: str) -> values.Job:
        return self.call(operations.get_job(job_id))

    def list_jobs(
        self: Calls,
        *,
        status: str | Iterable[str] | None = None,
        workload: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[values.Job]:
        """One's jobs, newest first, each once; pages are fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values.Job](limit)
        while listing.more:
            page = self.call(
                operations.list_jobs(
                    listing.offset,
                    listing.page_size,
                    status=status,
                    workload=workload,
                    created_after=created_after,
                    created_before=created_before,
                )
            )
            yield from listing.fresh(page)

    def get_job_output(self: Calls, job_id: str) -> str | None:
        """The whole output, or None while there is none."""
        return self.call(operations.job_output(job_id))

    def list_job_files(self: Calls, job_id: str) -> tuple[values.File, ...]:
        """What the job has made, once it has completed."""
        return self.call(operations.job_files(job_id))

    def cancel_job(self: Calls, job_id: str) -> values.Job:
        """Cancels the job; one that has ended already is given back as it is."""
        return self.call(operations.cancel_job(job_id))

    def why_job(self: Calls, job_id: str) -> values_of_why.JobWhy:
        """Why it went to this Island, or why it still waits and what would help."""
        return self.call(operations.job_why(job_id))

    def stream_job(
        self: Calls, job_id: str, *, last_event_id: str = ""
    ) -> Iterator[values.JobEvent]:
        """Events to the last one, each once. A broken connection is taken up again where it broke; StreamBrokenError
        when it cannot be."""
        place = JobPlace(job_id, self.settings.retries_max, last_event_id)
        while True:
            response = self._send(
                operations.job_stream(job_id), stream=True, last_event_id=place.last_event_id
            )
            try:
                for event in events_of(response):
                    told = place.took(event)
                    if told is not None:
                        yield told
                    if place.ended:
                        return
            except StreamBrokenError:
                pass
            finally:
                response.close()
            self._sleep(place.broke(self._chance))

    def wait_for_job(self: Calls, job_id: str, *, timeout_s: float = 300.0) -> values.Job:
        """The job once it has completed. Raises JobFailedError, or TimeoutError: it then goes on."""
        job = _ended(self, job_id, time.monotonic() + timeout_s, timeout_s)
        if job.status != "completed":
            raise JobFailedError(job)
        return job

    def wait_all(
        self: Calls, jobs: Iterable[values.Job | str], *, timeout_s: float = 300.0
    ) -> tuple[values.Job, ...]:
        """Jobs, or their ids, once each has ended, however it ended: `status` says so. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        ids = [one if isinstance(one, str) else one.id for one in jobs]
        return tuple([_ended(self, one, end, timeout_s) for one in ids])


class AsyncJobCalls:
    """The same, in the client for asyncio."""

    async def create_job(
        self: AsyncCalls,
        workload: str,
        input: Mapping[str, Any],  # noqa: A002  the API's own word
        *,
        priority: int | None = None,
        within_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> values.Job:
        """Submits a job. `within_s`: it is not begun, and costs nothing, where it cannot be done by then. The same
        `idempotency_key` gives the same job, however often it is sent."""
        return await self.call(
            operations.create_job(workload, input, priority, idempotency_key, within_s)
        )

    async def get_job(self: AsyncCalls, job_id: str) -> values.Job:
        return await self.call(operations.get_job(job_id))

    async def list_jobs(
        self: AsyncCalls,
        *,
        status: str | Iterable[str] | None = None,
        workload: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[values.Job]:
        """One's jobs, newest first, each once; pages are fetched as they are needed. `limit`: so many at most."""
        listing = Listing[values.Job](limit)
        while listing.more:
            page = await self.call(
                operations.list_jobs(
                    listing.offset,
                    listing.page_size,
                    status=status,
                    workload=workload,
                    created_after=created_after,
                    created_before=created_before,
                )
            )
            for job in listing.fresh(page):
                yield job

    async def get_job_output(self: AsyncCalls, job_id: str) -> str | None:
        """The whole output, or None while there is none."""
        return await self.call(operations.job_output(job_id))

    async def list_job_files(self: AsyncCalls, job_id: str) -> tuple[values.File, ...]:
        """What the job has made, once it has completed."""
        return await self.call(operations.job_files(job_id))

    async def cancel_job(self: AsyncCalls, job_id: str) -> values.Job:
        """Cancels the job; one that has ended already is given back as it is."""
        return await self.call(operations.cancel_job(job_id))

    async def why_job(self: AsyncCalls, job_id: str) -> values_of_why.JobWhy:
        """Why it went to this Island, or why it still waits and what would help."""
        return await self.call(operations.job_why(job_id))

    async def stream_job(
        self: AsyncCalls, job_id: str, *, last_event_id: str = ""
    ) -> AsyncIterator[values.JobEvent]:
        """Events to the last one, each once. A broken connection is taken up again where it broke; StreamBrokenError
        when it cannot be."""
        place = JobPlace(job_id, self.settings.retries_max, last_event_id)
        while True:
            response = await self._send(
                operations.job_stream(job_id), stream=True, last_event_id=place.last_event_id
            )
            try:
                async for event in async_events_of(response):
                    told = place.took(event)
                    if told is not None:
                        yield told
                    if place.ended:
                        return
            except StreamBrokenError:
                pass
            finally:
                await response.aclose()
            await self._sleep(place.broke(self._chance))

    async def wait_for_job(
        self: AsyncCalls, job_id: str, *, timeout_s: float = 300.0
    ) -> values.Job:
        """The job once it has completed. Raises JobFailedError, or TimeoutError: it then goes on."""
        job = await _ended_async(self, job_id, time.monotonic() + timeout_s, timeout_s)
        if job.status != "completed":
            raise JobFailedError(job)
        return job

    async def wait_all(
        self: AsyncCalls, jobs: Iterable[values.Job | str], *, timeout_s: float = 300.0
    ) -> tuple[values.Job, ...]:
        """Jobs, or their ids, once each has ended, however it ended: `status` says so. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        ids = [one if isinstance(one, str) else one.id for one in jobs]
        return tuple([await _ended_async(self, one, end, timeout_s) for one in ids])


def _ended(client: Calls, job_id: str, end: float, timeout_s: float) -> values.Job:
    """The job once it has ended. `end`: until when, on the monotonic clock. Raises TimeoutError."""
    while not (job := client.call(operations.get_job(job_id))).finished:
        _check_time(job, end, timeout_s)
        client._sleep(POLL_S)
    return job


async def _ended_async(client: AsyncCalls, job_id: str, end: float, timeout_s: float) -> values.Job:
    """As `_ended`."""
    while not (job := await client.call(operations.get_job(job_id))).finished:
        _check_time(job, end, timeout_s)
        await client._sleep(POLL_S)
    return job


def _check_time(job: values.Job, end: float, timeout_s: float) -> None:
    if time.monotonic() >= end:
        raise errors.TimeoutError(f"job {job.id} is still {job.status} after {timeout_s:g} s")
