"""The OCI runtime of this host: containers run directly where that works, else through an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from archipelag_island.adapters.runtimes.oci.direct import DirectRuntime
from archipelag_island.adapters.runtimes.oci.engine import EngineRuntime
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.errors import CargoDied, NotUsable
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


class OciRuntime:
    """`ways`: to a container, the preferred first; directly, since then nothing outlives the Island.

    `engine`: the socket of one; None: it is looked for.
    """

    def __init__(
        self,
        scratch: Path | None = None,
        *,
        engine: Path | None = None,
        lines_max: int = 0,
        ways: Sequence[ContainerRuntime] = (),
    ) -> None:
        self._ways = tuple(ways) or (
            DirectRuntime(scratch, lines_max=lines_max),
            EngineRuntime(scratch, socket=engine, lines_max=lines_max),
        )
        self._chosen: ContainerRuntime | None = None
        self._choosing = asyncio.Lock()

    async def probe(self) -> RuntimeInfo:
        async with self._choosing:
            if self._chosen is None:
                self._chosen = await self._choose()
        return await self._chosen.probe()

    async def recover(self) -> int:
        """By every way: an earlier Island may have gone another one."""
        return sum([await way.recover() for way in self._ways])

    async def start(self, spec: CargoSpec) -> Handle:
        await self.probe()
        return await self._way().start(spec)

    async def describe(self, handle: Handle) -> Description:
        return await self._way().describe(handle)

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        async with aclosing(self._way().run(handle, request)) as events:
            async for event in events:
                yield event

    async def wait(self, handle: Handle) -> Exit:
        return await self._way().wait(handle)

    async def stop(self, handle: Handle, grace_s: float) -> None:
        if self._chosen is not None:
            await self._chosen.stop(handle, grace_s)

    def usage(self, handle: Handle) -> Consumption:
        return self._chosen.usage(handle) if self._chosen is not None else Consumption()

    def _way(self) -> ContainerRuntime:
        if self._chosen is None:
            raise CargoDied("it was never started")
        return self._chosen

    async def _choose(self) -> ContainerRuntime:
        """Raises NotUsable with every reason."""
        problems: list[str] = []
        for way in self._ways:
            try:
                await way.probe()
            except NotUsable as error:
                problems.append(str(error))
            else:
                return way
        raise NotUsable("; ".join(problems))
