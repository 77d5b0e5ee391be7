"""Where the probes are run: in every runtime that this host has, and outside, which shows that they work."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
import zipapp
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.errors import RuntimeFailed
from archipelag_island.runtime import CargoSpec, Handle, RunEvent, RunRequest, Runtime
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import a_spec, the_echo_manifest

HERE = Path(__file__).parent
# What starts this host's engines and runtimes is the Island's own tests'.
sys.path.append(str(HERE.parents[1] / "island" / "tests" / "integration"))
containers = importlib.import_module("containers")
PLACES = ("native", *containers.KINDS)
RUN_S = 120.0
# What is known to get through, and why nobody is harmed. One that no longer does has to be taken out: a test says so.
_COUNTED = "not bounded in number: the kernel counts each as memory of the Cargo's control group, which is bounded"
KNOWN = {
    ("native", "inodes"): _COUNTED,
    ("docker", "inodes"): _COUNTED,
    ("podman", "inodes"): _COUNTED,
}
PACKED = "escape.pyz"


def probes() -> dict[str, Any]:
    """Name → what it is, from the very modules that run inside, whose plain names are others' too."""
    names = ("probe", "files", "kernel", "network", "processes", "resources")
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(HERE / "inside"))
    try:
        for name in names:
            importlib.import_module(name)
        return dict(sys.modules["probe"].PROBES)
    finally:
        sys.path.remove(str(HERE / "inside"))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


def pack(folder: Path) -> Path:
    """The Cargo as one file, which every runtime shows it as its model."""
    target = folder / PACKED
    ours = {path.name for path in (HERE / "inside").glob("*.py")}
    zipapp.create_archive(HERE / "inside", target, filter=lambda path: path.name in ours)
    target.chmod(0o644)
    return target


def why_not(place: str) -> str:
    """Why it can't be tried here; empty: it can."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if place == "native" else containers.why_not(place)


def spec_of(place: str, packed: Path, root: Callable[[], Path]) -> CargoSpec:
    """A Cargo of the restricted tier, that of unknown publishers."""
    manifest = the_echo_manifest(slug="escape-probe")
    spec = replace(a_spec(manifest, slots=2), model=packed, tier=TIERS["restricted"])
    inside = f"/run/archipelag/model/{packed.name}"
    if place == "native":
        return replace(spec, module=inside)
    return replace(
        spec,
        runtime="oci",
        module="",
        root=root(),
        command=(image_root.PYTHON, inside),
        environment=tuple(image_root.ENVIRONMENT.items()),
    )


@asynccontextmanager
async def open_place(
    place: str, scratch: Path, engine: Callable[[str], Path]
) -> AsyncIterator[Runtime]:
    if place != "native":
        socket = engine(place) if place in containers.ENGINES else None
        async with containers.open_runtime(place, scratch, socket) as opened:
            yield opened
        return
    native = NativeRuntime()
    yield native
    for name in list(native._started):
        await native.stop(Handle(name), 0)


async def events_of(
    runtime: Runtime, handle: Handle, given: dict[str, Any], most: int = 1000
) -> list[RunEvent]:
    request = RunRequest("run", json.dumps(given).encode(), output_items_max=most)
    async with asyncio.timeout(RUN_S), aclosing(runtime.run(handle, request)) as events:
        return [event async for event in events]


async def try_inside(
    runtime: Runtime, spec: CargoSpec, names: Iterable[str], world: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """What came of each. Those after one that took the Cargo with it are tried in the next one."""
    found: dict[str, dict[str, Any]] = {}
    left = list(names)
    while left:
        handle = await runtime.start(spec)
        how = ""
        results: list[dict[str, Any]] = []
        try:
            request = RunRequest(
                "run", json.dumps({"probes": left, "world": world}).encode(), output_items_max=1000
            )
            async with asyncio.timeout(RUN_S), aclosing(runtime.run(handle, request)) as events:
                async for event in events:
                    results += [json.loads(text) for text in event.texts]
                    if event.end is not None and event.end.error:
                        how = event.end.error
        except RuntimeFailed as error:
            how = str(error)
        finally:
            await runtime.stop(handle, 0)
        if len(results) < len(left):
            killed = {"probe": left[len(results)], "escaped": False, "said": "the Cargo was ended"}
            results.append({**killed, "how": how})
        found |= {one["probe"]: one for one in results}
        left = left[len(results) :]
    return found


def try_outside(packed: Path, names: Iterable[str], world: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", str(packed), "outside", *names],
        input=json.dumps(world),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
        env={"PATH": os.defpath},
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    return {one["probe"]: one for one in results}
