"""The hostile module in the wasm runtime: what it tries, and what came of it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from archipelag_contracts.manifest import Image
from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.wasm.runtime import WasmRuntime
from archipelag_island.errors import NoSlot, RuntimeFailed
from archipelag_island.runtime import CargoSpec, Handle
from archipelag_island.testing.builders import a_spec, the_echo_manifest
from places import events_of

MODULE: Final = Path(__file__).parent / "wasm" / "escape.wasm"
PROBES: Final = {
    "open_files": "open files of the host by every handle",
    "make_files": "make, link, move and remove files by every handle",
    "preopened": "find a folder that it was given",
    "list_folders": "list a folder by every handle",
    "sockets": "accept and send by every handle",
    "other_handles": "read and write by handles that are not its three",
    "move_handles": "move and close its standard handles",
    "environment": "read the environment",
    "arguments": "learn a path from its arguments",
    "bad_pointers": "give WASI addresses outside its memory",
    "memory": "grow its memory bit by bit",
    "memory_at_once": "grow it to 4 GiB at once",
    "loop": "run without end",
    "recursion": "call itself without end",
    "flood": "say items without end",
    "flood_of_progress": "tell of progress without end",
    "flood_of_complaints": "write to standard error without end",
    "line_without_end": "write one line without end",
    "not_utf8": "say what is no UTF-8",
    "half_a_character": "say half a character",
    "not_json": "say what is no JSON",
    "deep_json": "say JSON nested without end",
    "after_the_end": "go on after its end",
    "exit_badly": "end with a bad status",
    "trap": "run into a trap",
    "sleep_for_ever": "sleep while its slot is held",
    "chance_without_end": "draw random bytes without end",
}
SECONDS: Final = 2
WAIT_S: Final = 40.0


@dataclass(frozen=True)
class Outcome:
    escaped: bool
    said: str


@asynccontextmanager
async def a_runtime(folder: Path) -> AsyncIterator[WasmRuntime]:
    native = NativeRuntime()
    runtime = WasmRuntime(folder / "compiled", native)
    yield runtime
    for name in list(native._started):
        await runtime.stop(Handle(name), 0)


def the_spec() -> CargoSpec:
    """Of the restricted tier, but sooner over: nobody shall wait a minute for a loop to end."""
    manifest = the_echo_manifest(
        slug="escape-wasm",
        runtime="wasm",
        image=Image("cargos/escape", f"sha256:{'0' * 64}", 1),
        limits={"seconds": SECONDS, "progress_s": SECONDS},
    )
    tier = replace(TIERS["restricted"], seconds=SECONDS)
    return replace(a_spec(manifest, slots=1), runtime="wasm", module="", wasm=MODULE, tier=tier)


async def attempt(runtime: WasmRuntime, handle: Handle, probe: str) -> Outcome:
    """Waits for the slot: the run before may still be ending."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await _attempt(runtime, handle, probe)
            except NoSlot:
                await asyncio.sleep(0.05)


async def _attempt(runtime: WasmRuntime, handle: Handle, probe: str) -> Outcome:
    texts: list[str] = []
    try:
        for event in await events_of(runtime, handle, {"probe": probe}):
            texts += event.texts
            if event.end is not None and event.end.error:
                return Outcome(False, event.end.error)
            if event.end is not None and not texts:
                return Outcome(False, f"it ended: {event.end.finish_reason}")
    except NoSlot:
        raise
    except RuntimeFailed as error:
        return Outcome(False, str(error))
    try:
        said = json.loads(texts[-1])
        return Outcome(bool(said["escaped"]), str(said["said"]))
    except (ValueError, KeyError, TypeError):
        return Outcome(False, f"{len(texts)} items and then its end")


async def try_all() -> dict[str, str]:
    """What came of each, for the page."""
    with tempfile.TemporaryDirectory(prefix="escape-wasm-", dir="/tmp") as folder:
        async with a_runtime(Path(folder)) as runtime:
            handle = await runtime.start(the_spec())
            found = {name: await attempt(runtime, handle, name) for name in PROBES}
    return {name: ("**ESCAPED** " if one.escaped else "") + one.said for name, one in found.items()}
