"""What only containers through an engine promise, each engine started by hand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.adapters.runtimes.oci.api import EngineApi, find_socket
from archipelag_island.adapters.runtimes.oci.engine import LABEL, EngineRuntime
from archipelag_island.adapters.runtimes.oci.lifecycle import ContainerRuntime
from archipelag_island.errors import CargoDied, NotUsable, StartFailed
from archipelag_island.runtime import CargoSpec

from . import containers
from .containers import processes_of, that_runs


@pytest.fixture(params=containers.ENGINES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if why := containers.why_not(name):
        pytest.skip(why)
    return name


@pytest.fixture
def socket(kind: str, engine_socket: Callable[[str], Path]) -> Path:
    return engine_socket(kind)


@pytest.fixture
async def runtime(kind: str, socket: Path, tmp_path: Path) -> AsyncIterator[ContainerRuntime]:
    async with containers.open_runtime(kind, tmp_path, socket) as made:
        yield made


@pytest.fixture
async def api(socket: Path) -> AsyncIterator[EngineApi]:
    made = EngineApi(socket)
    yield made
    await made.close()


async def test_says_which_engine_it_is(runtime: ContainerRuntime, kind: str) -> None:
    info = await runtime.probe()

    assert info.executor.split()[0] == kind
    assert info.trust_min == 0


async def test_nothing_is_left_in_the_engine(
    runtime: ContainerRuntime, api: EngineApi, echo_image: CargoSpec
) -> None:
    handle = await runtime.start(echo_image)
    assert len(await api.labelled(LABEL)) == 1
    await runtime.stop(handle, 1.0)
    with pytest.raises(StartFailed):
        await runtime.start(that_runs(echo_image, "raise SystemExit(3)"))
    with pytest.raises(StartFailed):
        await runtime.start(replace(echo_image, command=("/no/such/thing",)))

    assert await api.labelled(LABEL) == {}


async def test_container_that_another_removed_has_died(
    runtime: ContainerRuntime, api: EngineApi, echo_image: CargoSpec
) -> None:
    handle = await runtime.start(echo_image)
    (found,) = await api.labelled(LABEL)

    await api.remove(found)
    async with asyncio.timeout(PATIENCE_S):
        ended = await runtime.wait(handle)

    assert ended.status != 0 and not ended.stopped
    with pytest.raises(CargoDied):
        await runtime.describe(handle)


ISLAND = """
import asyncio, sys
from pathlib import Path
from archipelag_island.adapters.runtimes.oci.engine import EngineRuntime
from archipelag_island.testing.image_root import the_echo_image

async def main():
    runtime = EngineRuntime(Path(sys.argv[1]), socket=Path(sys.argv[2]))
    await runtime.start(the_echo_image(Path(sys.argv[3])))
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_killed_island_left_is_ended_by_the_next(
    runtime: ContainerRuntime,
    api: EngineApi,
    socket: Path,
    image: Path,
    echo_image: CargoSpec,
    tmp_path: Path,
) -> None:
    island = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ISLAND, str(tmp_path), str(socket), str(image),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert island.stdout is not None
    assert await island.stdout.readline() == b"started\n"
    mine = await runtime.start(echo_image)
    island.kill()
    await island.wait()

    removed = await runtime.recover()

    assert removed == 2, "its container and its folder"
    assert len(await api.labelled(LABEL)) == 1 and processes_of(runtime, mine), "ours goes on"
    assert not containers.folders_of(island.pid, tmp_path)
    assert await runtime.recover() == 0


async def test_host_without_an_engine_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotUsable, match=r"no engine listens at /no/such"):
        find_socket(Path("/no/such"))
    with pytest.raises(NotUsable):
        await EngineRuntime(tmp_path, socket=tmp_path / "none").probe()
