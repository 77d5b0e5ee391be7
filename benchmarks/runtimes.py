"""How long a Cargo takes to start in each runtime of this machine, beside what the runtime itself takes for `true`.

Cold is from the call to the first answer, with nothing kept. The echo Cargo is a Python program, so most of
it is Python's own start, given as a row of its own. Warm is the first item of a run in a Cargo that is up already: that
is what a customer meets, and why Islands keep Cargos up between jobs.
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
from pathlib import Path

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.oci import prepare, smallest
from archipelag_island.adapters.runtimes.oci.room import Room
from archipelag_island.runtime import CargoSpec, RunRequest, Runtime
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import ECHO_MODULE, a_spec, an_input

sys.path.insert(0, str(Path(__file__).parent.parent / "island/tests/integration"))
import containers

REQUEST = RunRequest("run", an_input("one"), output_items_max=1)


async def milliseconds(act: Callable[[], Awaitable[None]], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        await act()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


async def first_item(runtime: Runtime, handle: object) -> None:
    async with aclosing(runtime.run(handle, REQUEST)) as events:  # type: ignore[arg-type]
        async for event in events:
            if event.texts:
                return


async def in_runtime(runtime: Runtime, spec: CargoSpec, times: int) -> tuple[float, float]:
    """Cold and warm."""
    begun: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        handle = await runtime.start(spec)
        await runtime.describe(handle)
        begun.append((time.perf_counter() - start) * 1000)
        await runtime.stop(handle, 1.0)
    handle = await runtime.start(spec)
    await first_item(runtime, handle)
    warm = await milliseconds(lambda: first_item(runtime, handle), times * 3)
    await runtime.stop(handle, 1.0)
    return statistics.median(begun), warm


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


async def measure(folder: Path, times: int) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    python = await milliseconds(
        lambda: command(sys.executable, "-c", f"import {ECHO_MODULE}.__main__"), times
    )
    rows.append(("Python itself: interpreter and imports", f"{python:.0f}", "–"))
    cold, warm = await in_runtime(NativeRuntime(folder), a_spec(), times)
    rows.append(("native", f"{cold:.0f}", f"{warm:.2f}"))
    smallest_root = folder / "smallest" / "root"
    smallest_root.mkdir(parents=True)
    program = smallest.make_root(smallest_root)
    spec = image_root.the_echo_image(image_root.make_root(folder / "image"))
    for kind in containers.KINDS:
        if why := containers.why_not(kind):
            rows.append((kind, why, "–"))
            continue
        async with opened(kind, folder) as runtime:
            cold, warm = await in_runtime(runtime, spec, times)
        rows.append((f"oci by {kind}: the echo Cargo", f"{cold:.0f}", f"{warm:.2f}"))
        path = shutil.which(kind, path=containers.PLACES)
        if kind in containers.ENGINES or path is None:
            continue
        ours = await milliseconds(lambda p=path: anteroom(p, smallest_root, program), times)  # type: ignore[misc]
        rows.append((f"oci by {kind}: `true`, anteroom included", f"{ours:.0f}", "–"))
        alone = await bare(path, smallest_root.parent, times)
        rows.append((f"{kind} alone: `run` of that bundle", f"{alone:.0f}", "–"))
    if bwrap := shutil.which("bwrap", path=f"{Path(sys.executable).parent}:{containers.PLACES}"):
        words = (bwrap, "--ro-bind", "/", "/", "--unshare-all", "--", "/bin/true")
        rows.append(
            (
                "bwrap alone: `true`",
                f"{await milliseconds(lambda: command(*words), times):.0f}",
                "–",
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="starts of each, for the median")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-runtimes-") as folder:
        Path(folder).chmod(0o755)
        rows = asyncio.run(measure(Path(folder), arguments.times))
    print("| start, median in ms | cold | warm |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
