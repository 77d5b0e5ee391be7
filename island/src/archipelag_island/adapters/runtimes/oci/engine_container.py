"""One container in an engine: started, listened to, metered and taken away as a whole."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from archipelag_island.adapters.runtimes.ended import how_it_ended
from archipelag_island.adapters.runtimes.exchange import Exchange
from archipelag_island.adapters.runtimes.oci import cgroups
from archipelag_island.adapters.runtimes.oci.api import EngineApi
from archipelag_island.adapters.runtimes.oci.egress import Egress
from archipelag_island.adapters.runtimes.oci.engine_body import Dialect
from archipelag_island.adapters.runtimes.oci.lifecycle import (
    Container,
    consumption,
)
from archipelag_island.adapters.runtimes.words import LastWords
from archipelag_island.errors import StartFailed
from archipelag_island.runtime import CargoSpec, Consumption, Exit

log = logging.getLogger(__name__)

SAMPLE_S: Final = 0.5
ATTACH_S: Final = 1.0


@dataclass(frozen=True)
class Engine:
    """What was found out about the engine."""

    name: str
    api: EngineApi
    dialect: Dialect
    own_groups: bool
    """Containers can be put below a control group of ours, whose figures stay."""
    maps_users: bool = False


class Running:
    """A container in the engine, and what listens to it."""

    def __init__(self, engine: Engine, name: str, container: str) -> None:
        self.api = engine.api
        self.id = container
        self.pid = 0
        self.words = LastWords()
        self.group: cgroups.Group | None = None
        self._parent = cgroups.of(name) if engine.own_groups else None
        self._attached = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    async def start(self) -> None:
        # Attached first, so that no word is lost; but an engine that attaches to what runs only is not waited for.
        with suppress(TimeoutError):
            async with asyncio.timeout(ATTACH_S):
                await self._attached.wait()
        await self.api.start(self.id)
        self.pid = int((await self.api.state(self.id)).get("Pid") or 0)
        if self.pid:
            self.group = cgroups.of_process(self.pid)

    def figures(self) -> cgroups.Figures | None:
        """Of the parent where there is one: the container's own group is gone as soon as it ends.

        Podman's watcher lives below the parent too: some milliseconds and two megabytes.
        """
        groups = [group for group in (self._parent, self.group) if group is not None]
        found = [figures for group in groups if (figures := group.figures()) is not None]
        if not found:
            return None
        # The first version counts them only where the killed process was.
        return replace(found[0], oom_kills=max(figures.oom_kills for figures in found))

    async def remove(self) -> None:
        """Returns when nothing of it is left."""
        await self.api.remove(self.id)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._listening)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        if self._parent is not None:
            await cgroups.empty(self._parent)
            self._parent.remove()

    async def _listen(self) -> None:
        try:
            with suppress(Exception):
                async for piece in self.api.errors(self.id, self._attached.set):
                    self.words.add(piece)
        finally:
            self._attached.set()


async def start_container(engine: Engine, name: str, document: dict[str, Any]) -> Running:
    """Raises StartFailed; then nothing is left."""
    if engine.own_groups:
        document["HostConfig"]["CgroupParent"] = f"/{cgroups.PARENT}/{name}"
    container = await engine.api.create(f"archipelag-{name}", document)
    running = Running(engine, name, container)
    try:
        await running.start()
    except BaseException:
        await running.remove()
        raise
    return running


class InEngine(Container):
    def __init__(
        self, running: Running, spec: CargoSpec, exchange: Exchange, egress: Egress | None
    ) -> None:
        self.exchange = exchange
        self.group = running.group
        self._running = running
        self._spec = spec
        self._egress = egress
        self._stopped = False
        self._last = Consumption()
        self._ending = asyncio.create_task(self._wait_end())

    @property
    def words(self) -> LastWords:
        return self._running.words

    @property
    def ended(self) -> bool:
        return self._ending.done()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._ending)

    async def stop(self, grace_s: float) -> None:
        if not self.ended:
            self._stopped = True
            if grace_s > 0:
                await self._running.api.signal(self._running.id, "SIGTERM")
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self.wait()
            if not self.ended:
                await self._running.api.signal(self._running.id, "SIGKILL")
        await self.wait()

    def usage(self) -> Consumption:
        if not self.ended and (now := self._running.figures()) is not None:
            self._last = consumption(self._last, now)
        return self._last

    async def _wait_end(self) -> Exit:
        status, killed = await self._wait_status()
        self.usage()
        if killed and not self._last.oom_kills:
            self._last = replace(self._last, oom_kills=1)
        self._last = replace(self._last, memory_bytes=0)
        await self._running.remove()
        if self._egress is not None:
            await self._egress.close()
        return how_it_ended(
            status,
            str(self._running.words),
            self._last,
            self._spec.tier.memory_bytes,
            stopped=self._stopped,
        )

    async def _wait_status(self) -> tuple[int, bool]:
        """Its status, as a signal where it was one, and whether the engine or the figures say: out of memory."""
        api, container = self._running.api, self._running.id
        waiting = asyncio.create_task(api.wait(container))
        try:
            while not (await asyncio.wait([waiting], timeout=SAMPLE_S))[0]:
                # Where the engine takes the group away at once, these are the last figures.
                self.usage()
            state = waiting.result()
        except StartFailed as error:
            log.warning("engine_lost_container container=%s why=%s", container[:12], error)
            return -signal.SIGKILL, False
        finally:
            waiting.cancel()
        status = int(state["ExitCode"])
        status = 128 - status if status > 128 else status
        self.usage()
        at_limit = self._last.memory_peak_bytes >= 0.98 * self._spec.tier.memory_bytes
        out_of_memory = bool(state.get("OOMKilled")) or (status == -signal.SIGKILL and at_limit)
        return status, out_of_memory and not self._stopped
