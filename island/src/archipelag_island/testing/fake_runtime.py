"""A runtime without processes, with a knob for each thing that can go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from archipelag_island.errors import BadInput, CargoDied, CargoFailed, NoSlot, NotReady, StartFailed
from archipelag_island.runtime import (
    KEPT_RUNS_MAX,
    CargoSpec,
    CargoState,
    Consumption,
    Description,
    Exit,
    Handle,
    RunEnd,
    RunEvent,
    RunRequest,
    RuntimeInfo,
)
from archipelag_island.testing.echo_engine.kept import KeptWords


@dataclass
class Knobs:
    """Turned by tests, also while runs go on."""

    item_s: float = 0.0
    """Time between items."""
    fail_starts: int = 0
    """So many starts fail, then they work."""
    hang_at_start: bool = False
    """Starts, but never becomes ready."""
    mute: bool = False
    """Does not say how it is."""
    exit_at: int | None = None
    """The Cargo dies at this position."""
    stall_at: int | None = None
    fail_at: int | None = None
    endless: bool = False
    """Says more than it was asked for, for ever."""
    claims_kept: tuple[str, ...] = ()
    """Runs that it says it keeps, in place of those that it does."""


@dataclass
class _Cargo:
    spec: CargoSpec
    end: asyncio.Future[Exit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    running: int = 0
    kept: KeptWords = field(default_factory=KeptWords)
    used: Consumption = field(default_factory=Consumption)


class FakeRuntime:
    """Says the words of `text` again, like the echo Cargo, but inside this process."""

    def __init__(self, knobs: Knobs | None = None) -> None:
        self.knobs = knobs or Knobs()
        self.starts = 0
        self.asked = 0
        """How often it was asked how it is."""
        self.salts: list[bytes] = []
        """Of the runs, in order."""
        self._cargos: dict[str, _Cargo] = {}

    async def probe(self) -> RuntimeInfo:
        return RuntimeInfo("native", (), ("everything: this is a fake",), "fake", 0)

    async def recover(self) -> int:
        return 0

    async def start(self, spec: CargoSpec) -> Handle:
        self.starts += 1
        if self.knobs.fail_starts > 0:
            self.knobs.fail_starts -= 1
            raise StartFailed("told to fail at start")
        handle = Handle(f"fake-{self.starts}")
        self._cargos[handle.id] = _Cargo(spec)
        return handle

    async def describe(self, handle: Handle) -> Description:
        cargo = self._alive(handle)
        self.asked += 1
        if self.knobs.mute:
            raise NotReady("no answer in time")
        state = CargoState.LOADING if self.knobs.hang_at_start else CargoState.READY
        kept = (self.knobs.claims_kept or tuple(cargo.kept.runs()))[:KEPT_RUNS_MAX]
        return Description(
            state, slots=cargo.spec.slots, resumable=True, items_per_s=100.0, kept_runs=kept
        )

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        cargo = self._alive(handle)
        if cargo.running >= cargo.spec.slots:
            raise NoSlot("every slot is taken")
        try:
            raw = json.loads(request.input)
            words = str(raw["text"]).split()
            words = [words[i % len(words)] for i in range(int(raw.get("items", len(words))))]
        except (ValueError, KeyError, TypeError):
            raise BadInput("give `text`") from None
        cargo.running += 1
        self.salts.append(request.cache_salt)
        try:
            async for event in self._say(handle, cargo, request, words):
                yield event
        finally:
            cargo.running -= 1
            cargo.kept.keep(request.run_id, request.cache_salt, words)

    async def _say(
        self, handle: Handle, cargo: _Cargo, request: RunRequest, words: list[str]
    ) -> AsyncGenerator[RunEvent, None]:
        shared = cargo.kept.shared(request.cache_salt, words)
        yield RunEvent(prompt_tokens=len(words), cached_tokens=shared)
        position = request.first_position
        last = min(len(words), request.output_items_max)
        while position < last or self.knobs.endless:
            await self._pass_time(cargo)
            if position == self.knobs.exit_at:
                self.kill(handle)
            if position == self.knobs.fail_at:
                raise CargoFailed("told to fail")
            if position == self.knobs.stall_at:
                await asyncio.wait([cargo.end])
            self._alive(handle)
            index = position % len(words)
            yield RunEvent(position, (words[index] + " ",), (index,))
            used = cargo.used
            cargo.used = replace(used, cpu_ms=used.cpu_ms + 1, memory_peak_bytes=1 << 20)
            position += 1
        yield RunEvent(end=RunEnd("length" if last < len(words) else "stop"))

    async def _pass_time(self, cargo: _Cargo) -> None:
        if self.knobs.item_s > 0:
            await asyncio.wait([cargo.end], timeout=self.knobs.item_s)
        else:
            await asyncio.sleep(0)

    async def wait(self, handle: Handle) -> Exit:
        return await asyncio.shield(self._cargos[handle.id].end)

    async def stop(self, handle: Handle, grace_s: float) -> None:
        del grace_s
        cargo = self._cargos.get(handle.id)
        if cargo is not None and not cargo.end.done():
            cargo.end.set_result(Exit(-15, stopped=True))

    def usage(self, handle: Handle) -> Consumption:
        cargo = self._cargos.get(handle.id)
        return cargo.used if cargo else Consumption()

    def kill(self, handle: Handle) -> None:
        """The Cargo's process ends by itself."""
        cargo = self._cargos[handle.id]
        if not cargo.end.done():
            cargo.end.set_result(Exit(3, last_words="told to die"))

    def kill_all(self) -> None:
        for name in self._cargos:
            self.kill(Handle(name))

    def _alive(self, handle: Handle) -> _Cargo:
        cargo = self._cargos.get(handle.id)
        if cargo is None or cargo.end.done():
            raise CargoDied(str(cargo.end.result()) if cargo else "it was never started")
        return cargo
