"""Runs what an Island has pulled in one of this machine's runtimes, under the limits that its manifest gives it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest
from archipelag_contracts.manifest import Manifest
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.oci.direct import DirectRuntime
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.domain.tier import tier_of
from archipelag_island.errors import NotReady, NotUsable
from archipelag_island.runtime import (
    CargoSpec,
    CargoState,
    FilePart,
    Handle,
    InputFile,
    RunRequest,
    Runtime,
)
from archipelag_island.services.ports import Unpacked

RUN_S: Final = 240.0
TRUST: Final = 2
"""What a stranger's reviewed Cargo has: no sandbox may lean on more."""
FOUND: Final[dict[str, Any]] = {}
"""What each runtime found out about this host, once for all tests: it takes containers and sandboxes to find out."""
ECHO: Final = "archipelag_island.testing.echo_engine"


@dataclass
class Answer:
    text: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.text)


async def open_runtime(way: str, compiled: Path) -> Runtime:
    """Skips where this machine cannot, with the reason."""
    native = NativeRuntime()
    native._host = FOUND.get("native")
    made: Runtime
    match way:
        case "wasm":
            made = WasmRuntime(compiled, native)
        case "native":
            made = native
        case _:
            made = DirectRuntime(executors=(way,))
            made._found = FOUND.get(way)
    try:
        info = await made.probe()
    except NotUsable as why:
        pytest.skip(f"needs {way}: {why}")
    if isinstance(made, DirectRuntime):
        FOUND[way] = made._found
    else:
        FOUND["native"] = native._host
    if info.trust_min > TRUST:
        pytest.skip(f"needs a sandbox: {way} isolates too little here ({info.executor})")
    return made


def spec_of(manifest: Manifest, found: Unpacked | None, model: Path | None) -> CargoSpec:
    """As the Island makes it. `found` is None for a native Cargo, whose engine is installed."""
    tier = tier_of(manifest, TRUST)
    assert tier is not None
    engines = {point.name: point.value for point in entry_points(group="archipelag.engines")}
    found = found or Unpacked()
    return CargoSpec(
        manifest,
        manifest.digest,
        module={**engines, "echo": ECHO}.get(manifest.engine, ""),
        model=model,
        tier=tier,
        root=found.root,
        command=found.command,
        environment=found.environment,
        working_dir=found.working_dir,
        wasm=found.wasm,
    )


async def answer_of(
    runtime: Runtime, spec: CargoSpec, said: object, files: Mapping[str, Path]
) -> Answer:
    request = RunRequest(
        "run",
        json.dumps(said).encode(),
        output_items_max=spec.manifest.limits.output_items_max,
        files=tuple(InputFile(name, path) for name, path in files.items()),
    )
    handle = await runtime.start(spec)
    try:
        async with asyncio.timeout(RUN_S):
            await _until_ready(runtime, handle)
            return await _collected(runtime, handle, request)
    finally:
        await runtime.stop(handle, 2.0)


async def _until_ready(runtime: Runtime, handle: Handle) -> None:
    while True:
        try:
            told = await runtime.describe(handle)
        except NotReady:
            continue
        assert told.state is not CargoState.FAILED, told.error
        if told.state is CargoState.READY:
            return
        await asyncio.sleep(0.05)


async def _collected(runtime: Runtime, handle: Handle, request: RunRequest) -> Answer:
    answer = Answer()
    async with aclosing(runtime.run(handle, request)) as events:
        async for event in events:
            answer.text += "".join(event.texts)
            if event.file is not None:
                _take(answer.files, event.file)
            if event.end is not None:
                assert not event.end.error, event.end.error
                return answer
    raise AssertionError("it ended without an end")


def _take(files: dict[str, bytes], part: FilePart) -> None:
    files[part.name] = files.get(part.name, b"") + part.data
    if part.last:
        assert part.sha256 == hashlib.sha256(files[part.name]).digest()
