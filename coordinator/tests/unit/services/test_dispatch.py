"""Dispatching: an Island that says yes, or a job that waits and says why."""

from __future__ import annotations

import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.domain.attempt import AttemptStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.adopt import adopt
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import TRIES_MAX, dispatch
from archipelag_coordinator.services.ports import Assignment, Refused, Unreachable
from archipelag_coordinator.testing.builders import an_id, an_offer
from archipelag_coordinator.testing.fakes import FakeChunkRelay
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def attempts(scene: Scene, job_id: JobId) -> list[AttemptStatus]:
    async with scene.store.begin() as tx:
        return [attempt.status for attempt in await tx.attempts.of_job(job_id)]


async def test_the_island_is_told_after_commit_and_the_relay_listens() -> None:
    scene = await a_scene()
    island = await scene.island()

    job = await scene.running()

    (told,) = scene.bus.assigned
    assert (told.island_id, told.job_id, told.epoch) == (island.id, job.id, 1)
    assert told.input == job.input and told.relay == scene.world.home
    assert (await scene.job(job.id)).status is JobStatus.RUNNING
    assert (island.id, job.id, 1) in scene.relay.open_for
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.running


async def test_nobody_there_is_a_state_with_reasons_and_no_error() -> None:
    scene = await a_scene()
    await scene.island(name="far", offers=())
    await scene.island(name="away", offers=(an_offer(scene.cargo, state="loading"),))

    job = await scene.running()

    assert job.status is JobStatus.QUEUED
    assert sorted(job.waiting_for) == ["away has llm-chat loading", "far does not offer llm-chat"]
    assert (await scene.job(job.id)).waiting_for == job.waiting_for
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.waiting == job.waiting_for


async def test_an_empty_network_says_that_it_is_empty() -> None:
    scene = await a_scene()

    job = await scene.running()

    assert job.waiting_for == ("no Island is connected",)


async def test_an_island_that_refuses_hands_on_to_the_next_one() -> None:
    scene = await a_scene()
    first, second = await scene.island(), await scene.island()
    scene.bus.refuse(first.id, "the owner needs the machine")
    scene.bus.refuse(second.id, "no slot")
    third = await scene.island()

    job = await scene.running()

    assert job.status is JobStatus.RUNNING
    assert scene.bus.assigned[-1].island_id == third.id
    statuses = await attempts(scene, job.id)
    assert statuses == [AttemptStatus.REFUSED] * (len(statuses) - 1) + [AttemptStatus.ASSIGNED]
    assert [told.epoch for told in scene.bus.assigned] == list(range(1, len(statuses) + 1))
    assert len(scene.relay.open_for) == 1, "the relay listens to the last attempt only"


async def test_an_island_that_refused_is_asked_again_a_little_later() -> None:
    scene = await a_scene()
    island = await scene.island()
    scene.bus.answer(island.id, Refused("no slot"))

    waiting = await scene.running()
    scene.clock.advance(1.5)
    running = await dispatch(scene.world, waiting.id)

    assert waiting.status is JobStatus.QUEUED
    assert "already refused" in waiting.waiting_for[0]
    assert running.status is JobStatus.RUNNING and running.epoch == 2


async def test_an_island_that_does_not_answer_gets_a_cancel_for_what_it_may_have_heard() -> None:
    scene = await a_scene()
    island = await scene.island()
    scene.bus.answer(island.id, Unreachable("no answer"))

    job = await scene.running()

    assert job.status is JobStatus.QUEUED
    assert scene.bus.cancelled == [(island.id, job.id, 1, "no answer in time")]


async def test_chunks_that_came_say_yes_even_if_the_reply_was_lost() -> None:
    scene = await a_scene()
    island = await scene.island()
    original = scene.bus.assign

    async def lost_reply(assignment, issued_at, timeout_s):  # type: ignore[no-untyped-def]
        await original(assignment, issued_at, timeout_s)
        scene.relay.deliver(assignment.job_id, assignment.epoch, 0, ["Hi"])
        return Unreachable("no answer")

    scene.bus.assign = lost_reply  # type: ignore[method-assign]

    job = await scene.running()

    assert job.status is JobStatus.RUNNING
    assert scene.bus.cancelled == []
    assert scene.world.fleet.busy(island.id) == 1


async def test_a_slot_is_taken_at_once_so_that_the_next_job_waits() -> None:
    scene = await a_scene()
    await scene.island(slots=1)

    first, second = await scene.running(), await scene.running()

    assert (first.status, second.status) == (JobStatus.RUNNING, JobStatus.QUEUED)
    assert "is busy: 1 of 1 slots taken" in second.waiting_for[0]


async def test_a_job_that_runs_or_belongs_elsewhere_is_left_alone() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()

    again = await dispatch(scene.world, job.id)

    assert again == await scene.job(job.id)
    assert len(scene.bus.assigned) == 1
    with pytest.raises(NotFound):
        await dispatch(scene.world, JobId(an_id("job")))


async def test_a_job_cancelled_while_the_island_is_asked_stays_cancelled() -> None:
    scene = await a_scene()
    island = await scene.island()
    original = scene.bus.assign

    async def slow_no(assignment, issued_at, timeout_s):  # type: ignore[no-untyped-def]
        await original(assignment, issued_at, timeout_s)
        await cancel(scene.world, scene.user.id, assignment.job_id)
        return Refused("too late")

    scene.bus.assign = slow_no  # type: ignore[method-assign]

    job = await scene.running()

    assert job.status is JobStatus.CANCELLED
    assert scene.world.fleet.busy(island.id) == 0


async def test_so_many_refusals_in_one_go_are_enough() -> None:
    scene = await a_scene()
    for _ in range(TRIES_MAX + 2):
        scene.bus.refuse((await scene.island()).id)

    job = await scene.running()

    assert job.status is JobStatus.QUEUED
    assert len(scene.bus.assigned) == TRIES_MAX


async def test_the_deadline_told_is_what_is_left_but_no_more_than_the_cargo_may_run() -> None:
    scene = await a_scene()
    await scene.island()

    await scene.running()

    assert scene.bus.assigned[0].deadline_ms == 300_000
    assert scene.bus.assigned[0].lease_ms == 60_000


async def test_an_assignment_without_an_answer_is_not_taken_back_once_the_job_was_adopted() -> None:
    scene = await a_scene()
    await scene.island()
    other, job = scene.another(), await scene.submit()
    relay = other.relay
    assert isinstance(relay, FakeChunkRelay)

    async def assign(assignment: Assignment, *_: object) -> Unreachable:
        """The Island heard it and speaks; we are cut off, and the other one goes on with the job."""
        await adopt(other, assignment.job_id, scene.world.home)
        relay.deliver(assignment.job_id, assignment.epoch, 0, ["a", "b"])
        return Unreachable("no answer in time")

    scene.bus.assign = assign  # type: ignore[assignment]
    await dispatch(scene.world, job.id)

    now = await scene.job(job.id)
    assert (now.status, now.epoch, now.home) == (JobStatus.RUNNING, 1, other.home)
    answer = other.answers.own(job.id)
    assert answer is not None and answer.texts == ["a", "b"]
