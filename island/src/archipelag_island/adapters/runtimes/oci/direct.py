"""Containers without an engine: crun or runc, driven on a bundle that the Island makes itself.

Each container lives in an anteroom (see there), which dies with the Island. It shares the kernel with the host, and
nothing else but the mounted exchange folder.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import zlib
from asyncio.subprocess import PIPE
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from archipelag_island.adapters.runtimes.ended import how_it_ended
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.oci import cgroups, owner, prepare, smallest
from archipelag_island.adapters.runtimes.oci.egress import Egress
from archipelag_island.adapters.runtimes.oci.lifecycle import (
    SOCKET,
    Container,
    ContainerRuntime,
    consumption,
)
from archipelag_island.adapters.runtimes.oci.room import Room
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import NotUsable, RuntimeFailed, StartFailed
from archipelag_island.runtime import CargoSpec, Consumption, Exit, RuntimeInfo

log = logging.getLogger(__name__)

PROBE_S: Final = 20.0
FOLDER_PREFIX: Final = "archipelag-oci-"
# Both isolate alike; the first starts faster.
EXECUTORS: Final = ("crun", "runc")
PLACES: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
ISOLATION: Final = (
    "user-namespace",
    "own-namespaces",
    "read-only-root",
    "bounded-tmp",
    "no-network",
    "no-capabilities",
    "no-new-privileges",
    "seccomp",
    "memory-limit",
    "cpu-limit",
    "pids-limit",
    "dies-with-island",
)
NOT_ISOLATED: Final = (
    "shares the kernel with the host, behind a filter of system calls",
    "sees the host's processors and its kernel's version",
)


class DirectRuntime(ContainerRuntime):
    """`scratch` is where the exchange folders go. `executors`: names or paths to try, the preferred first."""

    def __init__(
        self,
        scratch: Path | None = None,
        *,
        executors: Sequence[str] = EXECUTORS,
        lines_max: int = 0,
    ) -> None:
        super().__init__(lines_max)
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._executors = tuple(executors)
        self._found: tuple[str, str] | None = None
        self._probing = asyncio.Lock()
        self._ranges: set[int] = set()

    async def probe(self) -> RuntimeInfo:
        async with self._probing:
            if self._found is None:
                self._found = await self._find()
                log.info("oci_executor found=%s", self._found[1])
        return RuntimeInfo("oci", ISOLATION, NOT_ISOLATED, self._found[1], trust_min=0)

    async def recover(self) -> int:
        """Containers died with the Island that started them; their groups and folders may be left."""
        return await asyncio.to_thread(self._remove_leftovers)

    def _remove_leftovers(self) -> int:
        removed = 0
        for name in cgroups.names():
            if owner.orphaned(name):
                group = cgroups.of(name)
                group.kill()
                removed += group.remove()
        for folder in self._scratch.glob(f"{FOLDER_PREFIX}*"):
            if owner.orphaned(folder.name.removeprefix(FOLDER_PREFIX)):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    async def _open(self, spec: CargoSpec, name: str) -> tuple[Container, Callable[[], Path]]:
        assert self._found is not None
        name = owner.prefix() + name
        number = self._free_range(name)
        exchange: Exchange | None = None
        egress: Egress | None = None
        try:
            # Closed to the host's other users: what is shown of it is opened by us.
            exchange = Exchange.make(self._scratch, f"{FOLDER_PREFIX}{name}-", spec.manifest)
            if prepare.may_leave(spec):
                egress = Egress(spec.manifest.egress)
                await egress.serve(exchange.folder / prepare.EGRESS)
            plan = prepare.plan(spec, name, exchange, self._found[0], number)
            room = await Room.start(plan)
        except BaseException as error:
            self._ranges.discard(number)
            if egress is not None:
                await egress.close()
            if exchange is not None:
                exchange.remove()
            if isinstance(error, OSError):
                raise StartFailed(f"{spec.manifest.slug} could not be started: {error}") from error
            raise
        container = _Direct(room, spec, exchange, egress, lambda: self._ranges.discard(number))
        return container, lambda: Path(f"/proc/{room.inside}/root{plan.place}/sock/{SOCKET}")

    def _free_range(self, name: str) -> int:
        """Of user ids that no other Cargo here has; another Island's would hardly begin at the same."""
        start = zlib.crc32(name.encode()) % prepare.RANGES
        numbers = ((start + step) % prepare.RANGES for step in range(prepare.RANGES))
        number = next((n for n in numbers if n not in self._ranges), None)
        if number is None:
            raise StartFailed(f"{prepare.RANGES} Cargos run here already")
        self._ranges.add(number)
        return number

    async def _find(self) -> tuple[str, str]:
        """The executor that really runs a container here, and its version. Raises NotUsable."""
        why = await asyncio.to_thread(_why_not)
        if why:
            raise NotUsable(why)
        problems: list[str] = []
        for name in self._executors:
            path = shutil.which(name, path=PLACES)
            if path is None:
                problems.append(f"{name} is not installed")
                continue
            try:
                await _try(path, self._scratch)
            except (OSError, RuntimeFailed) as error:
                problems.append(f"{name}: {error}")
                continue
            return path, await _version(path)
        raise NotUsable("; ".join(problems))


def _why_not() -> str:
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root: only root may make control groups and map user ids here"
    if lacking := cgroups.missing():
        return f"the kernel offers no control group for {', '.join(lacking)}"
    return ""


class _Direct(Container):
    def __init__(
        self,
        room: Room,
        spec: CargoSpec,
        exchange: Exchange,
        egress: Egress | None,
        when_gone: Callable[[], None],
    ) -> None:
        self.exchange = exchange
        self.group = room.group
        self._room = room
        self._spec = spec
        self._egress = egress
        self._when_gone = when_gone
        self._stopped = False
        self._last = Consumption()
        self._ending = asyncio.create_task(self._wait_end())

    @property
    def words(self) -> LastWords:
        return self._room.words

    @property
    def ended(self) -> bool:
        return self._ending.done()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ending)

    async def stop(self, grace_s: float) -> None:
        if not self.ended:
            self._stopped = True
            if grace_s > 0:
                self._room.ask()
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self.wait()
        self._room.kill()
        await self.wait()

    def usage(self) -> Consumption:
        if not self.ended and (now := self._room.group.figures()) is not None:
            self._last = consumption(self._last, now)
        return self._last

    async def _wait_end(self) -> Exit:
        room = self._room
        while await room.hear():
            pass
        await room.close()
        self.usage()
        self._last = replace(self._last, memory_bytes=0)
        room.group.remove()
        if self._egress is not None:
            await self._egress.close()
        self._when_gone()
        status = -signal.SIGKILL if room.ended is None else room.ended
        return how_it_ended(
            status, str(room.words), self._last, self._spec.tier.memory_bytes, stopped=self._stopped
        )


async def _try(executor: str, scratch: Path) -> None:
    """A container around the smallest program. Raises StartFailed, OSError."""
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{owner.prefix()}probe-", dir=scratch))
    try:
        command = smallest.make_root(folder)
        room = await Room.start(prepare.probe_plan(executor, folder, command))
        try:
            async with asyncio.timeout(PROBE_S):
                while await room.hear():
                    pass
        except TimeoutError:
            raise StartFailed("it did not end") from None
        finally:
            await room.close()
            room.group.remove()
        if room.ended != 0:
            raise StartFailed(f"a container ended with {room.ended}: {room.words}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _version(path: str) -> str:
    """As it says of itself: "runc version 1.1.5"."""
    process = await asyncio.create_subprocess_exec(path, "--version", stdout=PIPE, stderr=PIPE)
    said, _ = await process.communicate()
    lines = said.decode(errors="replace").splitlines()
    return lines[0].replace(" version", "")[:64] if lines else Path(path).name
