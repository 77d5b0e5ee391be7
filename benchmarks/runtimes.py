"""How long a Cargo takes to start in each runtime of this machine, beside the least that the runtime itself takes.

Cold is from the call to the first answer. The echo Cargo is a Python program, and so is what runs a module of WASM, so
that most of it is Python's own start, which is part of the limit. Warm is a short run in a Cargo that is up
already: that is what a customer meets, and why Islands keep Cargos up between jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.native.sandbox import find_bubblewraps
from archipelag_island.adapters.runtimes.oci import prepare, smallest
from archipelag_island.adapters.runtimes.oci.room import Room
from archipelag_island.adapters.runtimes.wasm.runtime import ENGINE, WasmRuntime
from archipelag_island.runtime import CargoSpec, Handle, RunRequest, Runtime
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import ECHO_MODULE, a_spec, an_input
from figures import Beside, Figure
from telling import state_all

sys.path.insert(0, str(Path(__file__).parent.parent / "island/tests/integration"))
import containers
import wasm_cargos

PATH = "start of a Cargo"
HOW = (
    "Cold: from the call until the Cargo says that it is ready; for WASM, its module compiled before. Warm: a short "
    "run in a Cargo that is up. Limit: the runtime's own program and an interpreter with the same imports, each alone; "
    "warm, a call to the same Cargo that does nothing. Medians."
)
WASM_CARGO = "hash"
REQUEST = RunRequest("run", an_input("one"), output_items_max=1)


async def milliseconds(act: Callable[[], Awaitable[object]], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await act()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


async def short_run(runtime: Runtime, handle: Handle, request: RunRequest) -> None:
    """To its end: one that is left in its middle holds its slot for a while."""
    async with aclosing(runtime.run(handle, request)) as events:
        ends = [event.end async for event in events if event.end is not None]
    assert [end.error for end in ends] == [""]


@dataclass(frozen=True)
class Took:
    """Milliseconds: from the call to a Cargo that is ready; a short run; a bare call to the Cargo."""

    cold: float
    warm: float
    call: float


async def in_runtime(
    runtime: Runtime, spec: CargoSpec, times: int, request: RunRequest = REQUEST
) -> Took:
    begun: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        handle = await runtime.start(spec)
        await runtime.describe(handle)
        begun.append((time.perf_counter() - start) * 1000)
        await runtime.stop(handle, 1.0)
    handle = await runtime.start(spec)
    await short_run(runtime, handle, request)
    warm = await milliseconds(lambda: short_run(runtime, handle, request), times * 3)
    call = await milliseconds(lambda: runtime.describe(handle), times * 3)
    await runtime.stop(handle, 1.0)
    return Took(statistics.median(begun), warm, call)


def cold(what: str, ours: float, name: str, limit: float) -> Figure:
    return Figure(PATH, f"{what}, cold", ours, "ms", HOW, limit=Beside(name, limit))


def warm(what: str, took: Took) -> Figure:
    limit = Beside("bare call", took.call)
    return Figure(PATH, f"{what}, warm", took.warm, "ms", HOW, limit=limit)


async def command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if await process.wait() != 0:
        raise RuntimeError(f"{words[0]} failed")


async def anteroom(executor: str, root: Path, program: str) -> None:
    """Our whole way to a container, around the smallest program."""
    room = await Room.start(prepare.probe_plan(executor, root, program))
    while await room.hear():
        pass
    await room.close()
    room.group.remove()


async def bare(executor: str, folder: Path, times: int) -> float:
    """`run` of the same bundle without an anteroom; what that gives it otherwise is left out."""
    plan = prepare.probe_plan(executor, folder / "root", "/true")
    config = plan.config
    config["root"]["path"] = str(folder / "root")
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "bind"]
    bundle = folder / f"bundle-{Path(executor).name}"
    bundle.mkdir()
    for name in ("proc", "dev", "tmp", "sys"):
        (folder / "root" / name).mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config))
    state = str(folder / "state")
    # crun takes a hybrid layout for the second version alone, so that one is taken away for both.
    script = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"'
    words = ["unshare", "-m", "sh", "-c", script, executor, "--root", state, "run", "-b"]
    return await milliseconds(lambda: command(*words, str(bundle), plan.id), times)


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Runtime]:
    scratch = folder / f"scratch-{kind}"
    scratch.mkdir()
    if kind not in containers.ENGINES:
        async with containers.open_runtime(kind, scratch) as runtime:
            yield runtime
        return
    with containers.engine(kind, folder / kind) as socket:
        async with containers.open_runtime(kind, scratch, socket) as runtime:
            yield runtime


async def measure(folder: Path, times: int) -> AsyncIterator[Figure]:
    python = await starting(f"{ECHO_MODULE}.__main__", times)
    took = await in_runtime(NativeRuntime(folder), a_spec(), times)
    found = find_bubblewraps()
    if not found:
        yield cold("native", took.cold, "Python", python)
    else:
        words = (found[0], "--ro-bind", "/", "/", "--unshare-all", "--", "/bin/true")
        alone = await milliseconds(lambda: command(*words), times)
        yield cold("native", took.cold, "bwrap + Python", alone + python)
    yield warm("native", took)
    for figure in await in_wasm(folder, times):
        yield figure
    smallest_root = folder / "smallest" / "root"
    smallest_root.mkdir(parents=True)
    program = smallest.make_root(smallest_root)
    spec = image_root.the_echo_image(image_root.make_root(folder / "image"))
    for kind in containers.KINDS:
        if why := containers.why_not(kind):
            print(f"oci by {kind} is left out: {why}")
            continue
        async with opened(kind, folder) as runtime:
            took = await in_runtime(runtime, spec, times)
        path = shutil.which(kind, path=containers.PLACES)
        if kind in containers.ENGINES or path is None:
            yield cold(f"OCI by {kind}", took.cold, "Python", python)
        else:
            ours = await milliseconds(lambda p=path: anteroom(p, smallest_root, program), times)  # type: ignore[misc]
            alone = await bare(path, smallest_root.parent, times)
            yield cold(f"OCI by {kind}", took.cold, f"{kind} + Python", alone + python)
            yield cold(f"OCI by {kind}, the smallest program", ours, f"{kind} run", alone)
        yield warm(f"OCI by {kind}", took)


async def in_wasm(folder: Path, times: int) -> list[Figure]:
    """Cold with the module compiled already: that is done once, when it is first met."""
    spec, request = wasm_cargos.prepared(WASM_CARGO)
    python = await starting(ENGINE, times)
    runtime = WasmRuntime(folder / "modules")
    await runtime.stop(await runtime.start(spec), 1.0)
    took = await in_runtime(runtime, spec, times, request)
    return [cold("WASM", took.cold, "Python", python), warm("WASM", took)]


async def starting(module: str, times: int) -> float:
    """Of an interpreter that imports it and ends."""
    return await milliseconds(lambda: command(sys.executable, "-c", f"import {module}"), times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="starts of each, for the median")
    arguments = parser.parse_args()
    # Short: Podman takes no more than 50 characters for a folder of its own within it.
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        Path(folder).chmod(0o755)
        asyncio.run(state_all(measure(Path(folder), arguments.times)))


if __name__ == "__main__":
    main()
