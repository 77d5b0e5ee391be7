"""Why this Island, why still waiting, why no work: said to whom it concerns."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_coordinator.domain.catalogue import Catalogue
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.placement import Obstacle
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.why import (
    BROKER_AWAY,
    CARGO_GONE,
    hindrances_of,
    why_host,
    why_job,
)
from archipelag_coordinator.testing.builders import a_cargo, a_user, an_offer
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def test_an_attempt_keeps_why_its_island_was_chosen() -> None:
    scene = await a_scene()
    await scene.island(name="busy", slots=0)
    chosen = await scene.island(name="here")
    job = await scene.running()

    why = await why_job(scene.world, scene.user.id, job.id)

    (attempt,) = why.attempts
    assert attempt.island_id == chosen.id
    assert (attempt.placement.asked, attempt.placement.fit) == (2, 1)
    assert attempt.placement.kept_out == (Obstacle("has_free_slot", 1),)
    assert len(attempt.placement.preferences) == 5
    assert why.outlook is None


async def test_a_waiting_job_says_why_as_it_is_now() -> None:
    scene = await a_scene()
    job = await dispatch(scene.world, (await scene.submit()).id)
    nobody = await why_job(scene.world, scene.user.id, job.id)
    await scene.island(approved=False)
    await scene.island(slots=0)

    why = await why_job(scene.world, scene.user.id, job.id)

    assert nobody.outlook is not None and nobody.outlook.asked == 0
    assert why.outlook is not None
    assert why.outlook.kept_out == (Obstacle("has_free_slot", 1), Obstacle("is_approved", 1))
    assert why.hint.startswith("wait for a slot")


async def test_what_is_away_altogether_is_the_reason() -> None:
    scene = await a_scene()
    job = await scene.submit()
    scene.bus.connected = False
    away = await why_job(scene.world, scene.user.id, job.id)
    async with scene.store.begin() as tx:
        cargo = await tx.cargos.by_digest(job.cargo_digest)
        assert cargo is not None
        await tx.cargos.save(cargo.withdraw())
    gone = await why_job(scene.world, scene.user.id, job.id)

    assert (away.hint, gone.hint) == (BROKER_AWAY, CARGO_GONE)


async def test_nobody_else_is_told() -> None:
    scene = await a_scene()
    island = await scene.island()
    job = await scene.submit()

    with pytest.raises(NotFound):
        await why_job(scene.world, a_user().id, job.id)
    with pytest.raises(NotFound):
        await why_host(scene.world, scene.user, island.id)
    with pytest.raises(NotFound):
        await why_host(scene.world, scene.owner, a_scene.__name__)  # type: ignore[arg-type]

    for asking in (scene.owner, a_user(role=Role.OPERATOR), a_user(role=Role.ADMIN)):
        assert (await why_host(scene.world, asking, island.id)).island.id == island.id


async def codes(scene: Scene, island_id: str) -> list[str]:
    why = await why_host(scene.world, scene.owner, island_id)  # type: ignore[arg-type]
    return [one.code for one in why.reasons]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"approved": False}, ["not_approved"]),
        ({"status": IslandStatus.ENROLLED}, ["not_ready"]),
        ({"status": IslandStatus.DRAINING}, ["not_ready"]),
        ({"status": IslandStatus.SILENT, "approved": False}, ["not_approved", "not_ready"]),
        ({"status": IslandStatus.LOST}, ["not_ready"]),
        ({"status": IslandStatus.SUSPENDED}, ["suspended"]),
        ({"status": IslandStatus.RETIRED}, ["suspended"]),
        ({"offers": ()}, ["no_cargo"]),
        ({"offers": (an_offer(state="loading"),)}, ["none_fitting"]),
        ({"offers": (an_offer(a_cargo(version="9.9.9")),)}, ["none_fitting"]),
        ({"offers": (an_offer(a_cargo(slug="gone")),)}, ["none_fitting"]),
        ({"slots": 0}, ["busy"]),
        ({}, ["no_demand"]),
    ],
    ids=str,
)
async def test_an_owner_is_told_why_there_is_no_work(
    changes: dict[str, object], expected: list[str]
) -> None:
    scene = await a_scene()
    island = await scene.island(**changes)

    why = await why_host(scene.world, scene.owner, island.id)

    assert [one.code for one in why.reasons] == expected
    assert all(one.reason for one in why.reasons)
    assert why.gets_work == (expected == ["no_demand"])


async def test_one_behind_others_is_told_so_and_one_that_is_asked_for_is_not() -> None:
    scene = await a_scene()
    slow = await scene.island(offers=(an_offer(scene.cargo, first_item_ms=5_000.0),))
    alone = await codes(scene, slow.id)
    fast = await scene.island()
    await scene.submit()

    why = await why_host(scene.world, scene.owner, slow.id)

    assert alone == ["no_demand"]
    assert [one.code for one in why.reasons] == ["behind_others"] and why.gets_work
    assert await codes(scene, fast.id) == []
    (cargo,) = why.cargos
    assert (cargo.in_line.rank, cargo.in_line.of) == (2, 2)
    assert (cargo.queued, cargo.asked_lately) == (1, 1)


async def test_an_island_in_doubt_is_told_so() -> None:
    scene = await a_scene()
    island = await scene.island()
    scene.world.fleet.doubt(island.id, scene.clock.now())

    assert await codes(scene, island.id) == ["in_doubt"]


async def test_an_island_that_this_coordinator_does_not_know_is_told_what_is_stored() -> None:
    scene = await a_scene()
    island = await scene.island(status=IslandStatus.LOST)
    scene.world.fleet.forget(island.id)

    why = await why_host(scene.world, scene.owner, island.id)

    assert [one.code for one in why.reasons] == ["not_ready"] and why.cargos == ()


async def test_a_cargo_that_is_listed_no_more_is_said_to_be() -> None:
    scene = await a_scene()
    island = await scene.island()
    world = replace(scene.world, catalogue=Catalogue([]))

    why = await why_host(world, scene.owner, island.id)

    assert why.cargos[0].in_line.rule == "is_listed"
    assert [one.code for one in why.reasons] == ["none_fitting"]


async def test_a_list_of_islands_names_the_same_hindrances_but_for_ranks() -> None:
    scene = await a_scene()
    best = await scene.island(name="best")
    worse = await scene.island(name="worse", broker_rtt_ms=900.0)
    away = await scene.island(status=IslandStatus.SILENT)
    busy = await scene.island(slots=0)
    empty = await scene.island(offers=())
    stranger = await scene.island(offers=(an_offer(a_cargo(slug="unlisted")),))

    listed, alone = {}, {}
    for island in (best, worse, away, busy, empty, stranger):
        why = await why_host(scene.world, scene.owner, island.id)
        listed[island.id] = [
            one for one in why.reasons if one.code not in ("no_demand", "behind_others")
        ]
        alone[island.id] = hindrances_of(scene.world, island)

    assert alone == listed
    assert [len(alone[one.id]) for one in (best, worse, away, busy, empty, stranger)] == [
        *(0, 0, 1, 1, 1, 1)
    ]
