"""Dispatching where another Coordinator was faster: the Island says that it is full, which costs little and is known
from then on."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.attempt import AttemptStatus
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.ports import Accepted, Refused
from archipelag_coordinator.testing.worlds import Scene, a_scene

FULL = Refused("no_slot: 4 runs already, 4 slots", Room(0, 0))
OLDER = Refused("no_slot: 4 runs already, 4 slots")


async def submitted(scene: Scene, number: int) -> Job:
    return await scene.submit(request_hash=b"request %d" % number)


@pytest.mark.parametrize("refusal", [FULL, OLDER], ids=["says so", "an older one"])
async def test_the_next_jobs_do_not_ask_an_island_that_is_full(refusal: Refused) -> None:
    scene = await a_scene()
    island = await scene.island(slots=4)
    scene.bus.always(island.id, refusal)

    jobs = [await dispatch(scene.world, (await submitted(scene, number)).id) for number in range(5)]

    assert len(scene.bus.assigned) == 1
    for job in jobs:
        assert job.status is JobStatus.QUEUED
        assert job.waiting_for == (f"{island.name} is busy: 4 of 4 slots taken",)


async def test_it_is_asked_again_a_second_later_by_one_job_at_a_time() -> None:
    scene = await a_scene()
    island = await scene.island(slots=4)
    scene.bus.always(island.id, FULL)
    jobs = [await submitted(scene, number) for number in range(4)]
    for job in jobs:
        await dispatch(scene.world, job.id)

    scene.clock.advance(1.01)
    for job in jobs:
        await dispatch(scene.world, job.id)

    assert [told.job_id for told in scene.bus.assigned] == [jobs[0].id, jobs[0].id]


async def test_whoever_waited_longest_has_the_slot_after_two_refusals_in_a_row() -> None:
    scene = await a_scene()
    island = await scene.island(slots=2)
    held = await scene.running()
    scene.bus.answer(island.id, FULL, FULL)
    elder, younger = await submitted(scene, 1), await submitted(scene, 2)
    await dispatch(scene.world, elder.id)
    scene.clock.advance(1.01)
    await dispatch(scene.world, elder.id)

    scene.clock.advance(0.1)
    scene.world.fleet.freed(island.id, (held.id, held.epoch))
    taken = [await dispatch(scene.world, job.id) for job in (elder, younger)]

    assert len(scene.bus.assigned) == 4
    assert [job.status for job in taken] == [JobStatus.RUNNING, JobStatus.QUEUED]


async def test_an_island_that_takes_a_job_says_what_is_left() -> None:
    scene = await a_scene()
    island = await scene.island(slots=4)
    scene.bus.answer(island.id, Accepted(Room(0, 0)))

    taken = [await dispatch(scene.world, (await submitted(scene, n)).id) for n in range(2)]

    assert [job.status for job in taken] == [JobStatus.RUNNING, JobStatus.QUEUED]
    assert len(scene.bus.assigned) == 1


async def test_a_refusal_costs_one_commit_and_none_of_the_tries_that_a_job_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await a_scene()
    full, free = await scene.island(slots=4), await scene.island(slots=2)
    scene.bus.always(full.id, FULL)
    job = await submitted(scene, 1)
    begun: list[None] = []
    begin = scene.store.begin

    def counted(*given: Any) -> Any:
        begun.append(None)
        return begin(*given)

    monkeypatch.setattr(scene.store, "begin", counted)

    running = await dispatch(scene.world, job.id)

    refused = [told for told in scene.bus.assigned if told.island_id == full.id]
    assert running.status is JobStatus.RUNNING and scene.bus.assigned[-1].island_id == free.id
    assert len(refused) == 1 and len(begun) == 2, "one for each that was asked"
    async with begin() as tx:
        attempts = await tx.attempts.of_job(job.id)
    assert [one.status for one in attempts] == [AttemptStatus.REFUSED, AttemptStatus.ASSIGNED]
