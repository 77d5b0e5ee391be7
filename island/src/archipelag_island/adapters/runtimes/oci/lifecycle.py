"""What both OCI runtimes share: from a started container to the Runtime protocol."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.exchange import INSIDE, Exchange, standard_arguments
from archipelag_island.adapters.runtimes.oci.cgroups import Figures, Group
from archipelag_island.adapters.runtimes.pinned import Pinned
from archipelag_island.adapters.runtimes.served import Served, ServedCargos
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import StartFailed
from archipelag_island.runtime import CargoSpec, Consumption, Exit, Handle, RuntimeInfo

log = logging.getLogger(__name__)

START_S: Final = 60.0
SOCKET: Final = "cargo.sock"


class Container(ABC):
    """One started container: see `served.Living`."""

    exchange: Exchange
    group: Group | None
    """Its control groups, where they can be seen."""

    @property
    @abstractmethod
    def words(self) -> LastWords: ...

    @property
    @abstractmethod
    def ended(self) -> bool: ...

    @abstractmethod
    async def wait(self) -> Exit: ...

    @abstractmethod
    async def stop(self, grace_s: float) -> None:
        """No process, group or mount of it is left when this returns."""

    @abstractmethod
    def usage(self) -> Consumption: ...


class ContainerRuntime(ServedCargos, ABC):
    """`_open` starts the container; everything after that is the same for all."""

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
        handle = self._new_handle(spec)
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
        self._started[handle.id] = Served(
            container, container.exchange, pinned, INSIDE, self._log_of(handle)
        )
        log.info("cargo_started cargo=%s", handle.id)
        return handle


def arguments(spec: CargoSpec) -> tuple[str, ...]:
    """The image's command, and what every Cargo is told."""
    model = f"{INSIDE}/model/{spec.model.name}" if spec.model else ""
    return (*spec.command, *standard_arguments(spec, str(INSIDE), model))


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
