"""What an Island's meter says of a Cargo that burns a known load, beside what the kernel tells the Cargo itself.

The load is processor time in the Cargo and in two children of its, and 64 MB of memory; each runtime of this machine in
turn. `island/tests/integration/test_metering.py` holds the meter to 5 %.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.runtime import CargoSpec, RunRequest, Runtime
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import a_spec, the_echo_manifest

sys.path.insert(0, str(Path(__file__).parent.parent / "island/tests/integration"))
import containers

MODULE = "archipelag_island.testing.hostile_engine"
REQUEST = RunRequest("run", b'{"mode": "burns"}', output_items_max=10)


def spec() -> CargoSpec:
    manifest = the_echo_manifest(slug="burner", description="ordinary")
    needs = replace(manifest.needs, memory_mb=256)
    return replace(a_spec(replace(manifest, needs=needs)), module=MODULE)


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[tuple[Runtime, CargoSpec]]:
    if kind == "native":
        yield NativeRuntime(folder), spec()
        return
    root = folder / "root"
    if not root.exists():
        image_root.make_root(root)
    environment = tuple(image_root.ENVIRONMENT.items())
    command = (image_root.PYTHON, "-m", MODULE)
    async with containers.open_runtime(kind, folder) as runtime:
        yield runtime, replace(spec(), root=root, command=command, environment=environment)


async def measure(runtime: Runtime, wanted: CargoSpec) -> str:
    handle = await runtime.start(wanted)
    before = runtime.usage(handle)
    async with aclosing(runtime.run(handle, REQUEST)) as events:
        said = [text async for event in events for text in event.texts]
    told = json.loads(said[0])
    after = runtime.usage(handle)
    await runtime.stop(handle, 0)
    metered = after.cpu_ms - before.cpu_ms
    off = 100 * (metered / told["cpu_ms"] - 1)
    grew = (after.memory_peak_bytes - before.memory_bytes) / 1e6
    kernel = f"{told['cpu_ms']:>10.0f} {metered:>10} {off:>+7.1f} %"
    return f"{kernel} {told['bytes'] / 1e6:>12.0f} {grew:>10.0f}"


async def main() -> None:
    print(
        f"{'runtime':<8} {'kernel ms':>10} {'meter ms':>10} {'off by':>9} {'allocated MB':>12} {'meter MB':>10}"
    )
    with tempfile.TemporaryDirectory(prefix="metering-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # noqa: ASYNC240
        for kind in ("native", *containers.EXECUTORS):
            if kind != "native" and (why := containers.why_not(kind)):
                print(f"{kind:<8} {why}")
                continue
            async with opened(kind, folder) as (runtime, wanted):
                print(f"{kind:<8} {await measure(runtime, wanted)}")


if __name__ == "__main__":
    asyncio.run(main())
