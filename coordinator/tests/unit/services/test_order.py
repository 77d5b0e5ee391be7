"""An owner's orders to an Island: whose they may be, what they do here at once, and what the Island is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_contracts.ids import IslandId
from archipelag_contracts.manifest import Price
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.domain.wishes import Order
from archipelag_coordinator.errors import IllegalMove, NotFound, NotPermitted
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.audit import read_audit
from archipelag_coordinator.services.heartbeat import heartbeat
from archipelag_coordinator.services.order import order_island
from archipelag_coordinator.services.suspend import suspend_island
from archipelag_coordinator.services.why import why_host
from archipelag_coordinator.testing.builders import a_beat_of, a_user, an_id
from archipelag_coordinator.testing.worlds import Scene, a_scene

DRAIN, RESUME = Order(draining=True), Order(draining=False)
TOO_DEAR = Price(output_item_ucredits=Ucredits(10**9))
ORDERED = {"region": "eu-west", "takes_orders": True}


async def audited(scene: Scene) -> list[tuple[str, str, str]]:
    return [(e.actor, e.act, e.detail) for e in await read_audit(scene.world, limit=10)]


async def test_a_strangers_order_is_as_one_to_an_island_that_is_not_there() -> None:
    scene = await a_scene()
    island = await scene.island()

    for nobodys in (island.id, IslandId(an_id("isl"))):
        with pytest.raises(NotFound):
            await order_island(scene.world, scene.user, nobodys, DRAIN)

    assert scene.world.fleet.get(island.id) == island


async def test_an_operator_may_look_and_not_order() -> None:
    scene = await a_scene()
    island = await scene.island()

    with pytest.raises(NotPermitted):
        await order_island(scene.world, a_user(role=Role.OPERATOR), island.id, DRAIN)


async def test_an_administrators_order_is_noted_and_the_owners_own_is_not() -> None:
    scene = await a_scene()
    island = await scene.island()
    admin = a_user(role=Role.ADMIN)
    async with scene.store.begin() as tx:
        await tx.users.add(admin)

    await order_island(scene.world, scene.owner, island.id, DRAIN)
    await order_island(scene.world, admin, island.id, DRAIN)  # Says nothing new.
    await order_island(scene.world, admin, island.id, replace(RESUME, hours=7))

    assert await audited(scene) == [
        (admin.id, "island.order", "resume, schedule of 3 hours a week")
    ]


async def test_an_island_that_is_cut_off_takes_no_orders() -> None:
    scene = await a_scene()
    island = await scene.island()
    await suspend_island(scene.world, scene.owner.id, island.id)

    with pytest.raises(IllegalMove):
        await order_island(scene.world, scene.owner, island.id, DRAIN)


async def test_a_drained_island_is_given_nothing_from_this_instant_on_and_everything_after() -> (
    None
):
    scene = await a_scene()
    island = await scene.island()

    await order_island(scene.world, scene.owner, island.id, DRAIN)
    waits = await scene.running()
    why = await why_host(scene.world, scene.owner, island.id)
    await order_island(scene.world, scene.owner, island.id, RESUME)
    runs = await scene.running(request_hash=b"second")

    assert waits.status is JobStatus.QUEUED and "is draining" in waits.waiting_for[0]
    assert [one.code for one in why.reasons] == ["not_ready"]
    assert runs.status is JobStatus.RUNNING
    assert len(scene.nudges) >= 2


async def test_a_heartbeat_that_was_under_way_does_not_undo_an_order() -> None:
    scene = await a_scene()
    island = await scene.island()
    await order_island(scene.world, scene.owner, island.id, DRAIN)

    await heartbeat(scene.world, island.id, a_beat_of(island, 1), [])
    await upkeep.save_beats(scene.world)
    await upkeep.load_fleet(scene.world)

    assert not scene.world.fleet.get(island.id).accepts_work  # type: ignore[union-attr]


async def test_another_coordinator_knows_of_an_order_with_its_next_look() -> None:
    scene = await a_scene()
    island = await scene.island()
    other = scene.another()
    await heartbeat(other, island.id, a_beat_of(island, 1), [])
    await order_island(scene.world, scene.owner, island.id, DRAIN)

    await upkeep.load_fleet(other)

    assert not other.fleet.get(island.id).accepts_work  # type: ignore[union-attr]


async def test_an_island_that_asks_for_more_is_not_asked_and_says_why() -> None:
    scene = await a_scene()
    island = await scene.island()
    await order_island(
        scene.world, scene.owner, island.id, Order(least={scene.cargo.slug: TOO_DEAR})
    )

    waits = await scene.running()
    why = await why_host(scene.world, scene.owner, island.id)

    assert "asks for more than llm-chat pays" in waits.waiting_for[0]
    assert [(one.code, one.reason) for one in why.reasons] == [
        ("none_fitting", "it asks for more than llm-chat pays")
    ]


async def test_wishes_are_told_to_who_takes_orders_and_goes_by_older_ones() -> None:
    scene = await a_scene()
    island = await scene.island(capabilities=ORDERED)
    ordered = await order_island(scene.world, scene.owner, island.id, DRAIN)
    version = ordered.wishes.version

    async def told(sequence: int, held: int) -> object:
        beat = a_beat_of(ordered, sequence)
        answer = await heartbeat(scene.world, island.id, beat, [], wishes_version=held)
        return answer.wishes

    assert await told(1, 0) == ordered.wishes
    assert await told(2, version - 1) == ordered.wishes
    assert await told(3, version) is None
    # Of before the database was brought back from a copy: not taken back, and not fought over.
    assert await told(4, version + 1) is None


async def test_an_island_that_takes_no_orders_is_told_none() -> None:
    scene = await a_scene()
    island = await scene.island(capabilities={"takes_orders": False})
    ordered = await order_island(scene.world, scene.owner, island.id, DRAIN)

    answer = await heartbeat(scene.world, island.id, a_beat_of(ordered, 1), [])

    assert answer.wishes is None and not answer.accepts_work
