"""The WASM runtime: a Cargo as a module that can do nothing but compute, read its input and write its output.

wasmtime confines it: no file, no network, no environment, its memory, steps and time bounded. wasmtime itself is a
library of somebody else's, so it and its compiler run in the native sandbox too, one process a Cargo; what holds there
is said by `probe` together with what WASM gives. Where that sandbox is weak, the module still is confined.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from archipelag_contracts.tiers import TIERS, Tier

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.wasm.cache import CompiledModules
from archipelag_island.errors import NotUsable, StartFailed
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

ENGINE: Final = "archipelag_island.adapters.runtimes.wasm.engine"
COMPILER: Final = "archipelag_island.adapters.runtimes.wasm.compiler"
MODULE_BYTES_MAX: Final = 64 << 20
COMPILED_BYTES_MAX: Final = 512 << 20
COMPILE_S: Final = 60.0
# An interpreter with gRPC and wasmtime, beside what the module has.
ENGINE_BYTES: Final = 160 << 20
ENGINE_PIDS: Final = 64
FUEL_A_SECOND: Final = 100_000_000_000 // 60
"""About as many steps as a slow processor makes; so 100 billion in the restricted tier, on any processor."""
# (module (memory (export "memory") 1) (func (export "_start")))
SMALLEST: Final = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)


class WasmRuntime:
    def __init__(self, cache: Path, native: NativeRuntime | None = None) -> None:
        """`cache`: the Island's own folder for compiled modules."""
        self._native = native or NativeRuntime()
        self._modules = CompiledModules(cache)
        self._compiling = asyncio.Lock()
        self._info: RuntimeInfo | None = None

    async def probe(self) -> RuntimeInfo:
        if self._info is None:
            try:
                executor = f"wasmtime {version('wasmtime')}"
                if not self._modules.find(SMALLEST):
                    await self._compile(SMALLEST)
            except PackageNotFoundError:
                raise NotUsable("wasmtime is not installed: `pip install wasmtime`") from None
            except StartFailed as error:
                raise NotUsable(f"wasmtime does not run here: {error}") from error
            below = await self._native.probe()
            self._info = RuntimeInfo(
                "wasm",
                (
                    "no-files",
                    "no-system-calls",
                    "bounded-steps",
                    "bounded-memory",
                    *below.isolation,
                ),
                (
                    "relies on wasmtime's compiler; behind it, the native sandbox:",
                    *below.not_isolated,
                ),
                executor,
                trust_min=0,
            )
        return self._info

    async def recover(self) -> int:
        return await self._native.recover()

    async def start(self, spec: CargoSpec) -> Handle:
        if spec.wasm is None:
            raise StartFailed("this Cargo names no module")
        try:
            source = await asyncio.to_thread(_read, spec.wasm)
            async with self._compiling:
                compiled = self._modules.find(source) or await self._compile(source)
        except OSError as error:
            raise StartFailed(f"its module cannot be read: {error}") from error
        slots = max(1, spec.slots)
        try:
            return await self._native.start(_engine_spec(spec, compiled, slots))
        except StartFailed:
            # Perhaps a file of ours that was cut short: it is made again next time.
            self._modules.forget(source)
            raise

    async def describe(self, handle: Handle) -> Description:
        return await self._native.describe(handle)

    async def run(self, handle: Handle, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        async with aclosing(self._native.run(handle, request)) as events:
            async for event in events:
                yield event

    async def wait(self, handle: Handle) -> Exit:
        return await self._native.wait(handle)

    async def stop(self, handle: Handle, grace_s: float) -> None:
        await self._native.stop(handle, grace_s)

    def usage(self, handle: Handle) -> Consumption:
        return self._native.usage(handle)

    async def _compile(self, source: bytes) -> Path:
        """Raises StartFailed with the compiler's words."""
        with (
            tempfile.TemporaryFile() as output,
            tempfile.NamedTemporaryFile(suffix=".wasm") as given,
        ):
            given.write(source)
            given.flush()
            os.fchmod(given.fileno(), 0o444)
            ended = await self._native.use_tool(
                COMPILER,
                Path(given.name),
                output.fileno(),
                tier=replace(TIERS["standard"], syscalls="minimal"),
                bytes_max=COMPILED_BYTES_MAX,
                seconds=COMPILE_S,
            )
            if ended is None:
                raise StartFailed(f"compiling its module took longer than {COMPILE_S:.0f} s")
            if ended.status != 0:
                why = ended.last_words or str(ended)
                raise StartFailed(f"its module cannot be compiled: {why}")
            output.seek(0)
            return await asyncio.to_thread(self._modules.add, source, output.read())


def _engine_spec(spec: CargoSpec, compiled: Path, slots: int) -> CargoSpec:
    """The native Cargo that runs the module: its own needs come on top of the module's."""
    tier: Tier = replace(
        spec.tier,
        memory_bytes=ENGINE_BYTES + slots * spec.tier.memory_bytes,
        pids=ENGINE_PIDS + slots,
    )
    seconds = min(spec.tier.seconds, spec.manifest.limits.seconds)
    fuel = FUEL_A_SECOND * TIERS[spec.manifest.limits.tier].seconds
    told = ("--memory-bytes", spec.tier.memory_bytes, "--seconds", seconds, "--fuel", fuel)
    return replace(
        spec,
        module=ENGINE,
        model=compiled,
        wasm=None,
        slots=slots,
        tier=tier,
        command=tuple(str(one) for one in told),
    )


def _read(path: Path) -> bytes:
    """Raises OSError, StartFailed."""
    if path.stat().st_size > MODULE_BYTES_MAX:
        raise StartFailed(f"its module has more than {MODULE_BYTES_MAX >> 20} MB")
    return path.read_bytes()
