"""A job is sent to its Island while the disk takes it, and nobody outside hears of it before the disk has it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.ports import Refused
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.memory_store import MemoryTx

from .conftest import Api, chat, until


class Disk:
    """Takes what was committed when it is told to, or says that it does not know."""

    def __init__(self) -> None:
        self.waited = 0
        self.done = asyncio.Event()
        self.lost = False

    def ahead_of_disk(self) -> Any:
        async def on_disk() -> None:
            self.waited += 1
            await self.done.wait()
            if self.lost:
                raise ConnectionError("the database was lost before this was known to be on disk")

        return on_disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    one = Disk()
    monkeypatch.setattr(MemoryTx, "ahead_of_disk", one.ahead_of_disk)
    return one


async def test_an_island_has_it_while_the_reader_waits_for_the_disk(api: Api, disk: Disk) -> None:
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(stream=True)))
        job = await api.assigned()
        await until(lambda: disk.waited == 1)
        api.scene.stream(job, "Hel", "lo")
        await track(api.scene.world, api.scene.report(job, "Hel", "lo"))
        for _ in range(20):
            await asyncio.sleep(0)
        early = asking.done()
        disk.done.set()
        answer = await asking

    assert not early
    assert answer.status_code == 200 and "lo" in answer.text


async def test_where_the_disk_is_in_doubt_nobody_is_told_and_what_stands_is_looked_after(
    api: Api, disk: Disk
) -> None:
    world = api.scene.world
    disk.lost = True
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        job = await api.assigned()
        busy = world.fleet.busy(api.scene.bus.assigned[-1].island_id)
        disk.done.set()
        answer = await asking

    assert answer.status_code == 503
    assert (busy, world.fleet.busy(api.scene.bus.assigned[-1].island_id)) == (1, 0)
    assert world.answers.get(job.id) is None and api.scene.relay.open_for == {}
    await table.take_up_unknown(world)
    assert world.answers.own(job.id) is not None, "it stands after all"
    assert (await api.scene.job(job.id)).status is JobStatus.RUNNING
    await track(world, api.scene.report(job, "Hello"))
    assert (await api.scene.job(job.id)).status is JobStatus.SUCCEEDED


async def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(api: Api, disk: Disk) -> None:
    world = api.scene.world
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        job = await api.assigned()
        await until(lambda: disk.waited == 1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert world.answers.get(job.id) is None
    assert world.fleet.busy(api.scene.bus.assigned[-1].island_id) == 0


async def test_an_island_that_says_no_meanwhile_frees_its_slot_once(api: Api, disk: Disk) -> None:
    world = api.scene.world
    other = await api.scene.island(name="other")
    for island in world.fleet.islands():
        api.scene.bus.answer(island.id, Refused("no free slot"))
    disk.lost = True
    async with api.client() as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat()))
        await until(lambda: disk.waited == 1)
        await until(lambda: len(api.scene.bus.assigned) == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        disk.done.set()
        answer = await asking

    assert answer.status_code == 503
    assert {world.fleet.busy(island.id) for island in world.fleet.islands()} == {0}
    assert other.id in {one.island_id for one in api.scene.bus.assigned}
