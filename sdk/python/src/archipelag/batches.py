"""What both clients do with many inputs at once: handed to the network as one, or submitted side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from archipelag import errors, values, values_of_batches
from archipelag import operations_of_jobs as operations
from archipelag.calls import AsyncCalls, Calls
from archipelag.errors import ArchipelagError
from archipelag.listing import Listing
from archipelag.transport import POLL_S

AT_ONCE_MAX: Final = 8


class BatchCalls:
    """Many jobs at once, in the client that waits."""

    def batch(
        self: Calls,
        workload: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int | None = None,
    ) -> tuple[values.Job, ...]:
        """A job for each input, in their order, submitted several at once; `wait_all` waits for them. All or none:
        where one is refused, those made already are cancelled and its error is raised."""
        wanted = [operations.create_job(workload, one, priority, None) for one in inputs]
        made: dict[int, values.Job] = {}
        refused: list[ArchipelagError] = []

        def submit(index: int) -> None:
            if refused:
                return
            try:
                made[index] = self.call(wanted[index])
            except ArchipelagError as error:
                refused.append(error)

        with ThreadPoolExecutor(AT_ONCE_MAX) as pool:
            for done in [pool.submit(submit, index) for index in range(len(wanted))]:
                done.result()
        if refused:
            for job in made.values():
                with suppress(ArchipelagError):
                    self.call(operations.cancel_job(job.id))
            raise refused[0]
        return tuple(made[index] for index in range(len(wanted)))

    def submit_batch(
        self: Calls,
        workload: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        merge_strategy: str | None = None,
        fail_mode: str | None = None,
        max_parallelism: int | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> values_of_batches.Batch:
        """Hands 1 to 100 inputs to the network, which sees to their order. `merge_strategy`: concat or flatten;
        `fail_mode`: best_effort or fail_fast."""
        options = {
            "merge_strategy": merge_strategy,
            "fail_mode": fail_mode,
            "max_parallelism": max_parallelism,
            "priority": priority,
        }
        return self.call(operations.submit_batch(workload, inputs, idempotency_key, options))

    def get_batch_status(self: Calls, batch_id: str) -> values_of_batches.Batch:
        return self.call(operations.batch_status(batch_id))

    def list_batches(
        self: Calls, *, status: str | Iterable[str] | None = None, limit: int | None = None
    ) -> Iterator[values_of_batches.Batch]:
        """One's batches, newest first, each once and without its items; pages are fetched as they are needed."""
        listing = Listing[values_of_batches.Batch](limit)
        while listing.more:
            page = self.call(operations.list_batches(listing.offset, listing.page_size, status))
            yield from listing.fresh(page)

    def cancel_batch(self: Calls, batch_id: str) -> values_of_batches.Batch:
        """Cancels what has not ended yet; what has completed stays."""
        return self.call(operations.cancel_batch(batch_id))

    def wait_for_batch(
        self: Calls, batch_id: str, *, timeout_s: float = 600.0
    ) -> values_of_batches.Batch:
        """The batch once it has ended, however it ended: its `jobs` say so. Raises TimeoutError: it then goes on."""
        end = time.monotonic() + timeout_s
        while not (batch := self.call(operations.batch_status(batch_id))).finished:
            if time.monotonic() >= end:
                raise errors.TimeoutError(
                    f"batch {batch_id} is still {batch.status} after {timeout_s:g} s"
                )
            self._sleep(POLL_S)
        return batch


class AsyncBatchCalls:
    """The same, in the client for asyncio."""

    async def batch(
        self: AsyncCalls,
        workload: str,
        inputs: Sequence[Mapping[str, Any]],
        *,
        priority: int | None = None,
    ) -> tuple[values.Job, ...]:
        """A job for each input, in their order, submitted several at once; `wait_all` waits for them. All or none:
        where one is refused, those made already are cancelled and its error is raised."""
        wanted = [operations.create_job(workload, one, priority, None) for one in inputs]
        made: dict[int, values.Job] = {}
        room = asyncio.Semaphore(AT_ONCE_MAX)
        refused: list[ArchipelagError] = []

        async def submit(index: int) -> None:
            async with room:
                if refused:
                    return
                try:
                    made[index] = await self.call(wanted[index])
                except ArchipelagError as error:
                    refused.append(error)

        async with asyncio.TaskGroup() as group:
            for index in range(len(wanted)):
                group.create_task(submit(index))
        if refused:
            for job in made.values():
                with suppress(ArchipelagError):
                    await self.call(operations.cancel_job(job.id))
            raise refused[0]
        return tuple(made[index] for index in range(len(wanted)))

    async def submit_batch(
        self: AsyncCalls,
        workload: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        merge_strategy: str | None = None,
        fail_mode: str | None = None,
        max_parallelism: int | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> values_of_batches.Batch:
        """Hands 1 to 100 inputs to the network, which sees to their order. `merge_strategy`: concat or flatten;
        `fail_mode`: best_effort or fail_fast."""
        options = {
            "merge_strategy": merge_strategy,
            "fail_mode": fail_mode,
            "max_parallelism": max_parallelism,
            "priority": priority,
        }
        return await self.call(operations.submit_batch(workload, inputs, idempotency_key, options))

    async def get_batch_status(self: AsyncCalls, batch_id: str) -> values_of_batches.Batch:
        return await self.call(operations.batch_status(batch_id))

    async def list_batches(
        self: AsyncCalls, *, status: str | Iterable[str] | None = None, limit: int | None = None
    ) -> AsyncIterator[values_of_batches.Batch]:
        """One's batches, newest first, each once and without its items; pages are fetched as they are needed."""
        listing = Listing[values_of_batches.Batch](limit)
        while listing.more:
            page = await self.call(
                operations.list_batches(listing.offset, listing.page_size, status)
            )
            for batch in listing.fresh(page):
                yield batch

    async def cancel_batch(self: AsyncCalls, batch_id: str) -> values_of_batches.Batch:
        """Cancels what has not ended yet; what has completed stays."""
        return await self.call(operations.cancel_batch(batch_id))

    async def wait_for_batch(
        self: AsyncCalls, batch_id: str, *, timeout_s: float = 600.0
    ) -> values_of_batches.Batch:
        """The batch once it has ended, however it ended: its `jobs` say so. Raises TimeoutError: it then goes on."""
        end = time.monotonic() + timeout_s
        while not (batch := await self.call(operations.batch_status(batch_id))).finished:
            if time.monotonic() >= end:
                raise errors.TimeoutError(
                    f"batch {batch_id} is still {batch.status} after {timeout_s:g} s"
                )
            await self._sleep(POLL_S)
        return batch
