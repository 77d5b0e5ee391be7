"""All runtimes of this host as one: each Cargo is started by the one that was chosen for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from archipelag_island.errors import CargoDied, NotUsable, StartFailed
from archipelag_island.runtime import (
    CargoSpec,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEvent,
    RunRequest,
    Runtime,
    RuntimeInfo,
)

log = logging.getLogger(__name__)


class Runtimes:
    """`several`: by name, strongest first. A handle carries the name of the runtime that made it."""

    def __init__(self, several: Mapping[str, Runtime]) -> None:
        self._several = dict(several)
        self._infos: tuple[RuntimeInfo, ...] | None = None
        self.refused: dict[str, str] = {}
        """Name → why this host cannot run it."""

    async def usable(self) -> tuple[RuntimeInfo, ...]:
        """What works here. Tries all of them the first time."""
        if self._infos is None:
            found = []
            for name, runtime in list(self._several.items()):
                try:
                    found.append(await runtime.probe())
                except NotUsable as error:
                    self.refused[name] = str(error)
                    del self._several[name]
                    log.info("runtime_not_usable runtime=%s reason=%s", name, error)
            self._infos = tuple(found)
        return self._infos

    async def probe(self) -> RuntimeInfo:
        """The first that works. Raises NotUsable."""
        infos = await self.usable()
        if not infos:
            raise NotUsable("; ".join(f"{name}: {why}" for name, why in self.refused.items()))
        return infos[0]

    async def recover(self) -> int:
        return sum([await runtime.recover() for runtime in self._several.values()])

    async def start(self, spec: CargoSpec) -> Handle:
        runtime = self._several.get(spec.runtime)
        if runtime is None:
            why = self.refused.get(spec.runtime, "there is none of that name")
            raise StartFailed(f"the {spec.runtime} runtime cannot be used here: {why}")
        inner = await runtime.start(spec)
        return Handle(f"{spec.runtime}/{inner.id}")

    async def describe(self, handle: Handle) -> Description:
        runtime, inner = self._of(handle)
        return await runtime.describe(inner)

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        runtime, inner = self._of(handle)
        async with aclosing(runtime.run(inner, request)) as events:
            async for event in events:
                yield event

    async def wait(self, handle: Handle) -> Exit:
        runtime, inner = self._of(handle)
        return await runtime.wait(inner)

    async def stop(self, handle: Handle, grace_s: float) -> None:
        name, _, inner = handle.id.partition("/")
        if name in self._several:
            await self._several[name].stop(Handle(inner), grace_s)

    def usage(self, handle: Handle) -> Consumption:
        name, _, inner = handle.id.partition("/")
        return self._several[name].usage(Handle(inner)) if name in self._several else Consumption()

    def _of(self, handle: Handle) -> tuple[Runtime, Handle]:
        """Raises CargoDied."""
        name, _, inner = handle.id.partition("/")
        if name not in self._several:
            raise CargoDied("it was never started")
        return self._several[name], Handle(inner)
