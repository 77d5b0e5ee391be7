"""What only directly run containers promise: nothing outlives the Island, and one Cargo's users are nobody else's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_contracts.tiers import TIERS
from archipelag_island.adapters.runtimes.oci import cdi, cgroups, prepare
from archipelag_island.adapters.runtimes.oci.direct import EXECUTORS, DirectRuntime
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.errors import NotUsable, StartFailed
from archipelag_island.runtime import CargoSpec

from . import containers
from .containers import processes_of, that_also, that_runs, told, until


@pytest.fixture(params=EXECUTORS)
async def runtime(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[ContainerRuntime]:
    if why := containers.why_not(request.param):
        pytest.skip(why)
    async with containers.open_runtime(request.param, tmp_path) as made:
        yield made


def first_id(pid: int) -> int:
    """The host's number for the root of a process's user namespace."""
    inside, outside, count = told(pid, "uid_map").split()
    assert (inside, count) == ("0", "65536")
    return int(outside)


async def test_each_cargo_has_user_ids_of_its_own(
    runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    handles = [await runtime.start(echo_image) for _ in range(2)]

    found = {first_id(min(processes_of(runtime, handle))) for handle in handles}

    assert len(found) == 2
    assert all(number >= prepare.FIRST_ID for number in found)


async def test_even_the_loopback_is_down_but_where_a_profile_needs_it(
    runtime: ContainerRuntime, echo_image: CargoSpec
) -> None:
    tier = replace(echo_image.tier, syscalls="network")
    handles = [await runtime.start(spec) for spec in (echo_image, replace(echo_image, tier=tier))]

    found = [told(min(processes_of(runtime, handle)), "net/fib_trie") for handle in handles]

    assert ["127.0.0.1" in routes for routes in found] == [False, True]


def a_device() -> Path:
    """One that no container gets by itself."""
    names = ("fuse", "kvm", "loop-control", "net/tun", "hwrng", "ppp")
    there = [path for name in names if (path := Path("/dev") / name).exists()]
    if not there:
        pytest.skip("needs a spare device beside the usual ones")
    return there[0]


def describe_gpu(folder: Path, device: Path) -> None:
    library = folder / "libgpu.so.1.2"
    library.write_text("code")
    edits = {
        "deviceNodes": [{"path": str(device)}],
        "mounts": [{"hostPath": str(library), "containerPath": "/usr/lib/gpu/libgpu.so.1.2"}],
    }
    spec = {"kind": "nvidia.com/gpu", "devices": [{"name": "all", "containerEdits": edits}]}
    (folder / "gpu.json").write_text(json.dumps(spec))


async def test_gpu_is_there_by_the_manifest_alone(
    runtime: ContainerRuntime,
    echo_image: CargoSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = a_device()
    describe_gpu(tmp_path, device)
    monkeypatch.setattr(cdi, "FOLDERS", (tmp_path,))
    deed = f"""
say(os.path.exists({str(device)!r}))
say(os.path.exists('/usr/lib/gpu/libgpu.so.1') and open('/usr/lib/gpu/libgpu.so.1').read())
say(os.environ.get('LD_LIBRARY_PATH'))
os._exit(8)
"""
    without = that_also(echo_image, deed)
    manifest = replace(echo_image.manifest, devices=("gpu",))
    tier = replace(TIERS["elevated"], memory_bytes=256 << 20, syscalls="gpu")

    words = []
    for spec in (without, replace(without, manifest=manifest, tier=tier)):
        ended = await runtime.wait(await runtime.start(spec))
        words.append(ended.last_words)

    assert words == ["False | False | None", "True | code | /usr/lib/gpu"]


async def test_failed_start_gives_its_user_ids_back(
    runtime: DirectRuntime, echo_image: CargoSpec
) -> None:
    for script in ("raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"):
        with pytest.raises(StartFailed):
            await runtime.start(that_runs(echo_image, script))

    assert not runtime._ranges


ISLAND = """
import asyncio, sys
from pathlib import Path
from archipelag_island.adapters.runtimes.oci import cgroups
from archipelag_island.adapters.runtimes.oci.direct import DirectRuntime
from archipelag_island.testing.image_root import the_echo_image

cgroups.PARENT = sys.argv[4]

async def main():
    runtime = DirectRuntime(Path(sys.argv[1]), executors=(sys.argv[2],))
    await runtime.start(the_echo_image(Path(sys.argv[3])))
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_outlives_a_killed_island(
    runtime: DirectRuntime, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Apart from those of other tests' Islands, each of which would tidy up what is left here, too.
    parent = f"archipelag-test-{os.getpid()}"
    monkeypatch.setattr(cgroups, "PARENT", parent)
    island = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ISLAND, str(tmp_path), runtime._executors[0], str(image), parent,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert island.stdout is not None
    assert await island.stdout.readline() == b"started\n"
    (name,) = (n for n in cgroups.names() if n.startswith(f"{island.pid}."))
    assert cgroups.of(name).processes()

    island.kill()
    await island.wait()
    await until(lambda: not cgroups.of(name).processes())
    removed = await runtime.recover()

    assert removed == 2, "its groups and its folder"
    assert name not in cgroups.names()
    assert not containers.folders_of(island.pid, tmp_path)
    assert await runtime.recover() == 0
    for folder in cgroups._parents(cgroups.ROOT):
        folder.rmdir()


async def test_host_without_the_executor_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match=r"no-such-thing is not installed|needs root"):
        await DirectRuntime(tmp_path, executors=("no-such-thing",)).probe()
