"""How far other regions are, as it is measured and said; where an Island stands that does not say it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_contracts.ids import RelayId
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.domain.link import NUMBER_MAX, Link
from archipelag_coordinator.services.health import network_health
from archipelag_coordinator.services.heartbeat import heartbeat
from archipelag_coordinator.services.regions import reach_regions
from archipelag_coordinator.services.suspend import enforce
from archipelag_coordinator.services.unlink import take_link_back
from archipelag_coordinator.testing.builders import a_beat_of, an_id
from archipelag_coordinator.testing.worlds import Scene, a_scene


class Ways:
    """A bus on which each Coordinator answers after its own time, or not at all."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.ways_ms: dict[RelayId, float] = {}
        self.asked: list[RelayId] = []

    async def is_there(self, relay: RelayId) -> bool | None:
        self.asked.append(relay)
        way_ms = self.ways_ms.get(relay)
        self._scene.clock.advance((way_ms if way_ms is not None else 1000) / 1000)
        return None if way_ms is None else True


async def a_region(monkeypatch) -> tuple[Scene, Ways]:
    scene = await a_scene()
    scene = replace(scene, world=replace(scene.world, region="eu"))
    ways = Ways(scene)
    monkeypatch.setattr(scene.world.bus, "is_there", ways.is_there)
    return scene, ways


async def stands(scene: Scene, region: str) -> RelayId:
    """A Coordinator of that region is alive."""
    relay = RelayId(an_id("rly"))
    async with scene.store.begin() as tx:
        await tx.coordinators.beat(relay, scene.clock.now(), region)
    return relay


async def test_a_region_is_as_far_as_the_nearest_answer_from_it(monkeypatch) -> None:
    scene, ways = await a_region(monkeypatch)
    near, far, deaf = [await stands(scene, "us") for _ in range(3)]
    ways.ways_ms |= {near: 80.0, far: 300.0}
    here = await stands(scene, "eu")

    await reach_regions(scene.world)

    assert {region: round(ms) for region, ms in scene.world.fleet.regions_ms.items()} == {"us": 80}
    assert sorted(ways.asked) == sorted([near, far, deaf]) and here not in ways.asked
    assert scene.world.fleet.reaches_all


async def test_a_region_that_does_not_answer_is_out_of_reach_and_that_is_said(monkeypatch) -> None:
    scene, ways = await a_region(monkeypatch)
    relay = await stands(scene, "us")
    island = await scene.island(region="us")

    await reach_regions(scene.world)
    away = scene.world.fleet.room(island.id), scene.world.fleet.reaches_all
    said = {part.name: part for part in (await network_health(scene.world)).parts}["regions"]
    ways.ways_ms[relay] = 5.0
    async with scene.store.begin() as tx:
        await tx.coordinators.beat(relay, scene.clock.now(), "us")
    await reach_regions(scene.world)

    assert away == (0, False)
    assert (said.ok, said.said) == (False, "from eu: us is out of reach")
    assert (scene.world.fleet.room(island.id) > 0, scene.world.fleet.reaches_all) == (True, True)


async def test_who_cannot_hear_the_broker_judges_no_region(monkeypatch) -> None:
    scene, _ = await a_region(monkeypatch)
    await stands(scene, "us")
    scene.bus.connected = False

    await reach_regions(scene.world)

    assert scene.world.fleet.reaches_all


async def test_a_region_without_a_living_coordinator_is_as_far_as_it_was(monkeypatch) -> None:
    scene, ways = await a_region(monkeypatch)
    ways.ways_ms[await stands(scene, "us")] = 80.0
    await reach_regions(scene.world)
    scene.clock.advance(COORDINATOR_DEAD_S + 1)

    await reach_regions(scene.world)

    assert [round(ms or 0) for ms in scene.world.fleet.regions_ms.values()] == [80]


async def test_in_a_network_of_one_region_nobody_is_asked(monkeypatch) -> None:
    scene, ways = await a_region(monkeypatch)
    await stands(scene, "us")

    await reach_regions(replace(scene.world, region=""))

    assert ways.asked == [] and not scene.world.fleet.regions_ms


async def test_an_island_that_does_not_say_where_it_stands_stands_where_it_is_heard() -> None:
    scene = await a_scene()
    here, there = (replace(scene.world, region=region) for region in ("eu", "us"))
    silent, told = await scene.island(), await scene.island()
    first = [a_beat_of(island, 1) for island in (silent, told)]

    await heartbeat(here, silent.id, replace(first[0], capabilities={"cpus": 4}), [])
    await heartbeat(here, told.id, replace(first[1], capabilities={"region": "attic"}), [])
    heard_here = {island.id: island.region for island in scene.world.fleet.islands()}
    await heartbeat(there, silent.id, a_beat_of(silent, 2), [])
    heard_there = {island.id: island.region for island in scene.world.fleet.islands()}

    assert heard_here == {silent.id: "eu", told.id: "attic"}
    assert heard_there == {silent.id: "us", told.id: "attic"}


async def test_a_link_that_was_taken_back_is_told_to_the_broker_and_noted_once() -> None:
    scene = await a_scene()
    link = Link("west", 2)

    taken = [await take_link_back(scene.store, scene.clock, link, by="op") for _ in range(2)]
    await enforce(scene.world)

    assert taken == [True, False]
    assert scene.broker.unlinked == {link}
    async with scene.store.begin() as tx:
        (entry,) = [one for one in await tx.audit.newest(10) if one.act == "link.take_back"]
    assert (entry.actor, entry.subject) == ("op", "west 2")


@pytest.mark.parametrize("number", [0, -1, NUMBER_MAX + 1])
def test_a_link_counts_from_one(number: int) -> None:
    with pytest.raises(ValueError, match="number of a link"):
        Link("west", number)
