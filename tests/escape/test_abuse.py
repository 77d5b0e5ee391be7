"""A Cargo that turns on its Island through the door between them: a clear error, and the next job runs."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import places
import pytest
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_island.errors import CargoDied, CargoFailed, RuntimeFailed
from archipelag_island.runtime import CargoSpec, RunRequest, Runtime

# One runtime of each kind of channel; what is tried is the Island's side, which all share.
PLACES = ("native", "runc")
WORKS = {"probes": ["host_file"]}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    if why := places.why_not(request.param):
        pytest.skip(why)
    return str(request.param)


@pytest.fixture
def spec(place: str, packed: Path, root: Callable[[], Path]) -> CargoSpec:
    return places.spec_of(place, packed, root)


@pytest.fixture
async def runtime(
    place: str, scratch: Path, engine: Callable[[str], Path]
) -> AsyncIterator[Runtime]:
    async with places.open_place(place, scratch, engine) as opened:
        yield opened


def resident_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


async def test_each_abuse_ends_in_an_error_and_the_cargo_still_serves(
    runtime: Runtime, spec: CargoSpec, world: dict[str, object]
) -> None:
    handle = await runtime.start(spec)
    before = resident_mib()

    for how in ("huge item", "invalid utf-8", "not protobuf", "large file part"):
        with pytest.raises(CargoFailed):
            await places.events_of(runtime, handle, {"abuse": how})
    said = await places.events_of(runtime, handle, {**WORKS, "world": world})

    assert not json.loads(said[0].texts[0])["escaped"]
    # The message of 20 MiB was refused by its length, not kept.
    assert resident_mib() - before < 64


async def test_flood_can_be_left_and_costs_no_memory(
    runtime: Runtime, spec: CargoSpec, world: dict[str, object]
) -> None:
    handle = await runtime.start(spec)
    before = resident_mib()
    request = RunRequest("run", b'{"abuse": "flood"}', output_items_max=10)

    async with aclosing(runtime.run(handle, request)) as events:
        seen = [await anext(events) for _ in range(1000)]
    said = await places.events_of(runtime, handle, {**WORKS, "world": world})

    assert len(seen) == 1000 and said
    assert resident_mib() - before < 64


async def test_deaf_cargo_is_killed(runtime: Runtime, spec: CargoSpec) -> None:
    handle = await runtime.start(spec)
    request = RunRequest("run", b'{"abuse": "deaf"}', output_items_max=10)

    async with aclosing(runtime.run(handle, request)) as events:
        await anext(events)
        async with asyncio.timeout(PATIENCE_S):
            await runtime.stop(handle, 0.2)
            ended = await runtime.wait(handle)

    assert ended.stopped


async def test_sudden_end_is_told_with_its_status(runtime: Runtime, spec: CargoSpec) -> None:
    handle = await runtime.start(spec)

    with pytest.raises(CargoDied, match="status 7"):
        await places.events_of(runtime, handle, {"abuse": "silent end"})


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A socket of the host where a link could lead the Island. Who came waits in its queue."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/trap.sock")
        door.listen()
        door.setblocking(False)
        yield door


async def test_link_in_the_sockets_place_leads_the_island_nowhere(
    runtime: Runtime, spec: CargoSpec, trap: socket.socket
) -> None:
    handle = await runtime.start(spec)

    (event, *_) = await places.events_of(
        runtime, handle, {"abuse": "replaced socket", "target": trap.getsockname()}
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await runtime.describe(handle)
    except RuntimeFailed:
        pass  # that the Cargo can no more be reached is its own loss
    await runtime.stop(handle, 0)

    assert event.texts == ("replaced",) or event.texts[0].startswith("refused")
    with pytest.raises(BlockingIOError):
        trap.accept()
