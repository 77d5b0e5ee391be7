"""From a started Cargo that serves its socket to the Runtime protocol: the same for containers and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

from archipelag_island.adapters.runtimes.cargo_client import CargoClient
from archipelag_island.adapters.runtimes.cargo_log import CargoLog, trace_of
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.pinned import Pinned
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import CargoDied
from archipelag_island.runtime import (
    CargoSpec,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEvent,
    RunRequest,
)

DEATH_NOTICED_S: Final = 1.0
CLOSE_S: Final = 1.0
ENDED_KEPT: Final = 100


class Living(Protocol):
    """What runs: a container or a confined process. Any number of tasks may wait for its end."""

    @property
    def words(self) -> LastWords:
        """What it says on its standard error."""
        ...

    async def wait(self) -> Exit: ...

    async def stop(self, grace_s: float) -> None:
        """Asks, waits, kills. Nothing of it is left when this returns."""
        ...

    def usage(self) -> Consumption:
        """The last figures once it has ended."""
        ...


@dataclass
class Served:
    """A started Cargo whose socket somebody listens to."""

    living: Living
    exchange: Exchange
    pinned: Pinned | None
    """The socket that stood when it was started; None where a path has to do."""
    shown_at: PurePosixPath | None
    """Where it sees the exchange folder; None: where that is."""
    said: CargoLog | None = None
    """Where its words go as they come; None: nowhere."""
    ending: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.client = CargoClient(self.pinned.path if self.pinned else str(self.exchange.socket))
        if self.said is not None:
            self.living.words.heard = self.said.heard

    @contextmanager
    def running(self, request: RunRequest) -> Iterator[None]:
        """What it says meanwhile belongs to this run, if to no other."""
        if self.said is not None:
            self.said.runs[request.run_id] = trace_of(request.traceparent)
        try:
            yield
        finally:
            if self.said is not None:
                self.said.runs.pop(request.run_id, None)

    async def why_died(self, error: CargoDied) -> CargoDied:
        """A broken call is noticed before the Cargo's end; its last words are worth a short wait."""
        try:
            async with asyncio.timeout(DEATH_NOTICED_S):
                return CargoDied(str(await self.living.wait()))
        except TimeoutError:
            return error

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self.client.close()
        if self.pinned is not None:
            self.pinned.close()
        self.exchange.remove()


class ServedCargos:
    """The verbs after a start; whoever starts Cargos puts each into `_started`.

    `lines_max`: of each Cargo's standard error a minute, into this Island's log; 0: none.
    """

    def __init__(self, lines_max: int = 0) -> None:
        self._lines_max = lines_max
        self._started: dict[str, Served] = {}
        self._ended: dict[str, tuple[Exit, Consumption]] = {}
        self._count = 0

    def _new_handle(self, spec: CargoSpec) -> Handle:
        self._count += 1
        return Handle(f"{spec.manifest.slug}-{self._count}")

    def _log_of(self, handle: Handle) -> CargoLog | None:
        return CargoLog(handle.id, self._lines_max) if self._lines_max else None

    async def describe(self, handle: Handle) -> Description:
        started = self._alive(handle)
        try:
            return await started.client.describe()
        except CargoDied as error:
            raise await started.why_died(error) from error

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        started = self._alive(handle)
        shown = started.exchange.with_inputs(request.run_id, request.files, started.shown_at)
        try:
            with shown as folder, started.running(request):
                async with aclosing(started.client.run(request, folder)) as events:
                    async for event in events:
                        yield event
        except CargoDied as error:
            raise await started.why_died(error) from error

    async def wait(self, handle: Handle) -> Exit:
        if handle.id in self._ended:
            return self._ended[handle.id][0]
        return await self._started[handle.id].living.wait()

    async def stop(self, handle: Handle, grace_s: float) -> None:
        started = self._started.get(handle.id)
        if started is None:
            return
        if started.ending is None:
            started.ending = asyncio.create_task(self._end(handle, started, grace_s))
        hurry: asyncio.Task[None] | None = None
        while not started.ending.done():
            try:
                await asyncio.shield(started.ending)
            except asyncio.CancelledError:
                # Who gives up waiting does not leave the Cargo running: it gets no more grace.
                hurry = hurry or asyncio.create_task(started.living.stop(0))
        if hurry is not None:
            await asyncio.gather(hurry, return_exceptions=True)
            raise asyncio.CancelledError
        await started.ending

    async def _end(self, handle: Handle, started: Served, grace_s: float) -> None:
        started.living.usage()
        await started.living.stop(grace_s)
        ended = await started.living.wait()
        if self._started.pop(handle.id, None) is None:
            return
        self._ended[handle.id] = (ended, started.living.usage())
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        await started.close()

    def usage(self, handle: Handle) -> Consumption:
        if handle.id in self._ended:
            return self._ended[handle.id][1]
        started = self._started.get(handle.id)
        return started.living.usage() if started else Consumption()

    def _alive(self, handle: Handle) -> Served:
        started = self._started.get(handle.id)
        if started is None:
            raise CargoDied("it was stopped")
        return started
