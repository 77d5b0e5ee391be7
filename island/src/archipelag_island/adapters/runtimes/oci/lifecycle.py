"""What both OCI runtimes share: from a started container to the Runtime protocol."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.cargo_client import CargoClient
from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange
from archipelag_island.adapters.runtimes.oci.cgroups import Figures, Group
from archipelag_island.adapters.runtimes.pinned import Pinned
from archipelag_island.errors import CargoDied, StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEvent,
    RunRequest,
    RuntimeInfo,
)

log = logging.getLogger(__name__)

START_S: Final = 60.0
DEATH_NOTICED_S: Final = 1.0
ENDED_KEPT: Final = 100
SOCKET: Final = "cargo.sock"


class Container(ABC):
    """One started container. Any number of tasks may wait for its end."""

    exchange: Exchange
    group: Group | None
    """Its control groups, where they can be seen."""

    @property
    @abstractmethod
    def ended(self) -> bool: ...

    @abstractmethod
    async def wait(self) -> Exit: ...

    @abstractmethod
    async def stop(self, grace_s: float) -> None:
        """Asks, waits, kills. No process, group or mount of it is left when this returns."""

    @abstractmethod
    def usage(self) -> Consumption: ...


class _Started:
    def __init__(self, container: Container, pinned: Pinned) -> None:
        self.container = container
        self.pinned = pinned
        self.client = CargoClient(pinned.path)
        self.ending: asyncio.Task[None] | None = None

    async def close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.client.close()
        self.pinned.close()
        self.container.exchange.remove()


class ContainerRuntime(ABC):
    """`_open` starts the container; everything after that is the same for all."""

    def __init__(self) -> None:
        self._started: dict[str, _Started] = {}
        self._ended: dict[str, tuple[Exit, Consumption]] = {}
        self._count = 0

    @abstractmethod
    async def probe(self) -> RuntimeInfo: ...

    @abstractmethod
    async def recover(self) -> int: ...

    @abstractmethod
    async def _open(self, spec: CargoSpec, name: str) -> tuple[Container, Callable[[], Path]]:
        """A container that runs, and where its socket is to appear. Raises StartFailed, and then nothing is left."""

    async def start(self, spec: CargoSpec) -> Handle:
        if spec.root is None or not spec.command:
            raise StartFailed(f"{spec.manifest.slug} has no image with a command to start")
        await self.probe()
        self._count += 1
        handle = Handle(f"{spec.manifest.slug}-{self._count}")
        container, place = await self._open(spec, handle.id)
        try:
            async with asyncio.timeout(START_S):
                pinned = await _until_there(container, place)
        except BaseException as error:
            await container.stop(0)
            container.exchange.remove()
            if isinstance(error, TimeoutError):
                raise StartFailed(
                    f"{spec.manifest.slug} did not open its socket within {START_S:.0f} s"
                ) from None
            raise
        self._started[handle.id] = _Started(container, pinned)
        log.info("cargo_started cargo=%s", handle.id)
        return handle

    async def describe(self, handle: Handle) -> Description:
        started = self._alive(handle)
        try:
            return await started.client.describe()
        except CargoDied as error:
            raise await _why_died(started.container, error) from error

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        started = self._alive(handle)
        exchange = started.container.exchange
        try:
            with exchange.with_inputs(request.run_id, request.files, INSIDE) as folder:
                async with aclosing(started.client.run(request, folder)) as events:
                    async for event in events:
                        yield event
        except CargoDied as error:
            raise await _why_died(started.container, error) from error

    async def wait(self, handle: Handle) -> Exit:
        if handle.id in self._ended:
            return self._ended[handle.id][0]
        return await self._started[handle.id].container.wait()

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
                hurry = hurry or asyncio.create_task(started.container.stop(0))
        if hurry is not None:
            await asyncio.gather(hurry, return_exceptions=True)
            raise asyncio.CancelledError
        await started.ending

    async def _end(self, handle: Handle, started: _Started, grace_s: float) -> None:
        await started.container.stop(grace_s)
        ended = await started.container.wait()
        if self._started.pop(handle.id, None) is None:
            return
        self._ended[handle.id] = (ended, started.container.usage())
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        await started.close()

    def usage(self, handle: Handle) -> Consumption:
        if handle.id in self._ended:
            return self._ended[handle.id][1]
        started = self._started.get(handle.id)
        return started.container.usage() if started else Consumption()

    def _alive(self, handle: Handle) -> _Started:
        started = self._started.get(handle.id)
        if started is None:
            raise CargoDied("it was stopped")
        return started


def arguments(spec: CargoSpec) -> tuple[str, ...]:
    """The image's command, and what every Cargo is told."""
    model = ("--model", f"{INSIDE}/model/{spec.model.name}") if spec.model else ()
    return (
        *spec.command,
        *("--socket", f"{INSIDE}/sock/{SOCKET}"),
        *("--manifest", f"{INSIDE}/manifest.json"),
        *model,
        *("--slots", str(spec.slots)),
        *("--threads", str(spec.threads)),
    )


def consumption(last: Consumption, now: Figures) -> Consumption:
    """The kernel's figures as ours, never below what was told before."""
    return Consumption(
        cpu_ms=max(last.cpu_ms, now.cpu_ns // 1_000_000),
        memory_bytes=now.memory_bytes,
        memory_peak_bytes=max(last.memory_peak_bytes, now.memory_peak_bytes, now.memory_bytes),
        read_bytes=max(last.read_bytes, now.read_bytes),
        written_bytes=max(last.written_bytes, now.written_bytes),
        gpu_ms=last.gpu_ms,
        oom_kills=max(last.oom_kills, now.oom_kills),
    )


async def _until_there(container: Container, place: Callable[[], Path]) -> Pinned:
    """Raises StartFailed when the container ends first."""
    wait_s = 0.002
    while True:
        if container.ended:
            raise StartFailed(str(await container.wait()))
        if (found := Pinned.listening_at(place())) is not None:
            return found
        await asyncio.sleep(wait_s)
        wait_s = min(0.05, wait_s * 1.5)


async def _why_died(container: Container, error: CargoDied) -> CargoDied:
    """A broken call is noticed before the container's end; its last words are worth a short wait."""
    try:
        async with asyncio.timeout(DEATH_NOTICED_S):
            return CargoDied(str(await container.wait()))
    except TimeoutError:
        return error
