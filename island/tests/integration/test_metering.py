"""What an Island says that a Cargo used, beside what the kernel tells the Cargo itself; children do not escape it."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_island.adapters.runtimes.native import NativeRuntime
from archipelag_island.adapters.runtimes.oci.direct import EXECUTORS
from archipelag_island.runtime import CargoSpec, Consumption, Handle, RunRequest, Runtime
from archipelag_island.testing import image_root
from archipelag_island.testing.builders import a_spec, the_echo_manifest

from . import containers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: control groups")

MODULE = "archipelag_island.testing.hostile_engine"
MANIFEST = the_echo_manifest(slug="burner", description="ordinary")
SPEC = replace(
    a_spec(replace(MANIFEST, needs=replace(MANIFEST.needs, memory_mb=256))), module=MODULE
)
# Of the whole, and of what passes between two looks.
SHARE, SLACK_MS = 0.05, 60.0

Started = tuple[Runtime, Handle]


@pytest.fixture(params=("native", *EXECUTORS))
async def started(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Started]:
    kind: str = request.param
    if kind == "native":
        # Not pytest's own folder, which is closed to the Cargo's user.
        with tempfile.TemporaryDirectory(prefix="metering-") as folder:
            Path(folder).chmod(0o755)  # noqa: ASYNC240
            runtime = NativeRuntime(Path(folder))
            if "memory-limit" not in (await runtime.probe()).isolation:
                pytest.skip("needs root or a delegated control group")
            handle = await runtime.start(SPEC)
            yield runtime, handle
            await runtime.stop(handle, 0)
        return
    if why := containers.why_not(kind):
        pytest.skip(why)
    root: Path = request.getfixturevalue("image")
    environment = tuple(image_root.ENVIRONMENT.items())
    command = (image_root.PYTHON, "-m", MODULE)
    spec: CargoSpec = replace(SPEC, root=root, command=command, environment=environment)
    async with containers.open_runtime(kind, tmp_path) as contained:
        yield contained, await contained.start(spec)


async def test_meter_agrees_with_the_kernel_and_counts_children(started: Started) -> None:
    runtime, handle = started
    request = RunRequest("run", b'{"mode": "burns"}', output_items_max=10)

    before: Consumption = runtime.usage(handle)
    async with asyncio.timeout(60), aclosing(runtime.run(handle, request)) as events:
        said = [text async for event in events for text in event.texts]
    after: Consumption = runtime.usage(handle)

    told = json.loads(said[0])
    assert told["statuses"] == [0, 0] and told["cpu_ms"] > 1000
    assert abs(after.cpu_ms - before.cpu_ms - told["cpu_ms"]) < SHARE * told["cpu_ms"] + SLACK_MS
    assert after.memory_peak_bytes - before.memory_bytes > (1 - SHARE) * told["bytes"]
    assert after.memory_peak_bytes <= SPEC.tier.memory_bytes
    await runtime.stop(handle, 0)
    assert runtime.usage(handle).cpu_ms >= after.cpu_ms
