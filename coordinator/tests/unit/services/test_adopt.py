"""A Coordinator dies, or a reader comes to another one: the answer goes on there, and nothing runs twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.errors import NothingToContinue
from archipelag_coordinator.services import adopt as adopting
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.cancel import cancel, cancel_here
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.follow import keep_up, look
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import Reader, note_reader, watch
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import CREDIT
from archipelag_coordinator.testing.fakes import FakeChunkRelay
from archipelag_coordinator.testing.worlds import Scene, a_scene

PROMPT, ITEM = 20, 100


async def a_stream(scene: Scene, *texts: str, **changes: object) -> tuple[Job, Reader]:
    """Two Islands; one has said this, and a reader had it."""
    await scene.island()
    await scene.island()
    job = await scene.running(**changes)
    reader = await watch(scene.world, job.id)
    scene.stream(job, *texts)
    reader.take()
    reader.delivered()
    await upkeep.save_marks(scene.world)
    return job, reader


def relay_of(world: World) -> FakeChunkRelay:
    assert isinstance(world.relay, FakeChunkRelay)
    return world.relay


async def test_a_reader_at_another_coordinator_gets_what_is_said_live() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a", "b")
    other = scene.another()

    reader = await watch(other, job.id)
    reader.seek(1)
    stored = reader.take()
    relay_of(other).deliver(job.id, job.epoch, 2, ["c"])

    assert (stored, reader.take()) == (["b"], ["c"])
    assert relay_of(other).opened_for == [scene.world.home]
    assert other.answers.own(job.id) is None, "it is a copy"


async def test_what_is_read_elsewhere_is_not_cancelled_when_the_reader_here_has_left() -> None:
    scene = await a_scene()
    job, here = await a_stream(scene, "a")
    other = scene.another()
    grace_s = scene.world.policy.reader_grace_s
    here.close()
    scene.clock.advance(grace_s - 1)
    there = await watch(other, job.id)
    scene.clock.advance(2)
    await upkeep.save_marks(other)
    await table.cancel_left(scene.world)
    kept = (await scene.job(job.id)).status

    there.close()
    scene.clock.advance(grace_s - 0.5)
    await table.cancel_left(scene.world)
    still = (await scene.job(job.id)).status
    scene.clock.advance(1)
    await table.cancel_left(scene.world)

    assert (kept, still) == (JobStatus.RUNNING, JobStatus.RUNNING)
    assert (await scene.job(job.id)).status is JobStatus.CANCELLED


async def test_a_copy_goes_on_with_the_next_attempt_and_ends_with_the_job() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    there = await watch(other, job.id)
    scene.stream(job, "b")
    await failover(scene.world, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    await keep_up(other)
    again = await dispatch(scene.world, job.id)
    await keep_up(other)
    before = there.take()
    relay_of(other).deliver(again.id, again.epoch, 2, ["c"])
    after = there.take()

    report = scene.report(again, "c", "d", first_position=2, next_position=4)
    await track(scene.world, report)
    ended = await look(other, job.id)

    assert (before, after, there.take()) == (["a", "b"], ["c"], ["d"])
    assert ended and there.final is not None and there.final.cause is Cause.COMPLETED


async def test_what_cannot_be_resumed_is_read_elsewhere_only_when_it_is_settled() -> None:
    scene = await a_scene(resumable=False)
    job, _ = await a_stream(scene, "a")
    other = scene.another()

    there = await watch(other, job.id)
    early = there.take()
    await track(scene.world, scene.report(job, "a", "b"))
    await keep_up(other)

    assert relay_of(other).open_for == {}
    assert (early, there.take()) == ([], ["a", "b"])


async def test_a_copy_that_nobody_reads_is_let_go() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    (await watch(other, job.id)).close()
    scene.clock.advance(11)

    await keep_up(other)

    assert len(other.answers) == 0 and relay_of(other).open_for == {}


async def test_a_copy_that_lost_the_thread_finds_it_again() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    there = await watch(other, job.id)
    relay_of(other).open_for.clear()
    scene.stream(job, "b", "c")
    await upkeep.save_marks(scene.world)

    await keep_up(other)

    assert there.take() == ["a", "b", "c"]
    assert len(relay_of(other).open_for) == 1


async def test_a_job_read_here_goes_on_here_when_its_coordinator_is_off_the_broker_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adopting, "ABSENT_S", 0.0)
    scene = await a_scene()
    job, _ = await a_stream(scene, "a", "b")
    other = scene.another()
    there = await watch(other, job.id)
    await table.adopt_read(other)
    at_first = (await scene.job(job.id)).home
    scene.bus.away.add(scene.world.home)

    await table.adopt_read(other)

    adopted = await scene.job(job.id)
    assert (at_first, adopted.home) == (scene.world.home, other.home)
    assert (adopted.status, adopted.epoch) == (JobStatus.RUNNING, 1), "the attempt goes on"
    relay_of(other).deliver(job.id, job.epoch, 2, ["c"])
    assert there.take() == ["a", "b", "c"]
    done = await track(other, scene.report(job, "a", "b", "c"))
    assert done.charged == 5 * PROMPT + 3 * ITEM
    assert there.final is not None and there.final.cause is Cause.COMPLETED


async def test_whom_the_broker_cannot_be_asked_about_is_not_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adopting, "ABSENT_S", 0.0)
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    await watch(other, job.id)
    scene.bus.away.add(scene.world.home)
    scene.bus.connected = False

    await table.adopt_read(other)

    assert (await scene.job(job.id)).home == scene.world.home


async def test_a_coordinator_that_lost_a_job_decides_nothing_of_it_and_its_readers_go_on() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)
    scene.clock.advance(60)
    silent_before = upkeep.silent_streams(scene.world)

    await table.watch_silence(scene.world)
    await table.catch_up(scene.world)
    silent = upkeep.silent_streams(scene.world)
    scene.stream(job, "b")

    assert [one.job_id for one in silent_before] == [job.id] and silent == []
    assert (await scene.job(job.id)).status is JobStatus.RUNNING
    assert reader.take() == ["b"]


async def test_a_coordinator_that_was_held_up_does_not_cancel_what_is_read_at_its_new_home() -> (
    None
):
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)
    reader.close()
    scene.clock.advance(other.policy.reader_grace_s + 1)

    await table.cancel_left(scene.world)

    assert (await scene.job(job.id)).status is JobStatus.RUNNING


async def test_an_adopted_stream_fails_over_from_what_was_stored() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a", "b")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)
    relay_of(other).deliver(job.id, job.epoch, 2, ["c"])

    await failover(other, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    await dispatch(other, job.id)

    assignment = scene.bus.assigned[-1]
    assert (assignment.first_position, assignment.resume_texts) == (3, ("a", "b", "c"))
    async with scene.store.begin() as tx:
        assert (await tx.items.of_job(job.id)).texts == ("a", "b", "c")


async def test_a_queued_job_that_was_adopted_goes_on_where_it_was() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a", "b")
    await failover(scene.world, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)

    await table.dispatch_waiting(other)

    assert scene.bus.assigned[-1].first_position == 2
    assert (await scene.job(job.id)).epoch == 2


async def test_jobs_that_were_taken_over_and_forgotten_are_taken_up_again() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    async with scene.store.begin() as tx:
        assert await tx.jobs.take_home(job.id, other.home, was=scene.world.home)

    await table.take_up_unknown(other)

    assert other.answers.own(job.id) is not None
    assert await upkeep.unknown_jobs(other, 10) == []


async def test_a_reader_who_comes_back_to_the_adopter_keeps_the_job() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)
    there = await watch(other, job.id)
    scene.clock.advance(100)

    await table.cancel_left(other)
    await table.cancel_left(other)
    there.close()
    scene.clock.advance(other.policy.reader_grace_s + 1)
    await table.cancel_left(other)

    ended = await scene.job(job.id)
    assert (ended.status, ended.cause) == (JobStatus.CANCELLED, Cause.CANCELLED)
    assert ended.charged == 5 * PROMPT + ITEM


async def test_adopting_what_has_ended_or_moved_changes_nothing() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    first, second = scene.another(), scene.another()

    assert await adopting.adopt(first, job.id, scene.world.home) is not None
    assert await adopting.adopt(second, job.id, scene.world.home) is None
    await cancel_here(first, job.id, "over")
    assert await adopting.adopt(second, job.id, first.home) is None
    assert await adopting.take_up(first, job.id) is None


async def test_cancelling_elsewhere_charges_what_the_home_delivered() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")
    scene.stream(job, "b", "c")
    reader.take()
    reader.delivered()
    other = scene.another()

    async def take(job_id: object, reason: str) -> bool:
        return (await cancel_here(scene.world, job.id, reason)).finished

    scene.bus.cancels[scene.world.home] = take

    cancelled = await cancel(other, scene.user.id, job.id)

    assert (cancelled.status, cancelled.output_items) == (JobStatus.CANCELLED, 3)
    assert await scene.balance() == CREDIT - 5 * PROMPT - 3 * ITEM


async def test_cancelling_where_the_home_is_gone_charges_what_was_noted_last() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    scene.stream(job, "b")
    other = scene.another()

    cancelled = await cancel(other, scene.user.id, job.id)

    assert (cancelled.status, cancelled.output, cancelled.output_items) == (
        JobStatus.CANCELLED,
        "a",
        1,
    )


async def test_a_job_that_goes_on_unread_is_left_alone_and_pays_in_full() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a", goes_on_unread=True)
    reader.close()
    scene.clock.advance(100)
    await table.cancel_left(scene.world)

    done = await track(scene.world, scene.report(job, "a", "b"))

    assert done.status is JobStatus.SUCCEEDED
    assert done.charged == 5 * PROMPT + 2 * ITEM


async def test_two_readers_at_two_coordinators_each_get_everything_once() -> None:
    scene = await a_scene()
    job, here = await a_stream(scene, "a")
    other = scene.another()
    there = await watch(other, job.id)
    got_here, got_there = ["a"], there.take()
    for n, text in enumerate("bcd", start=1):
        scene.stream(job, text)
        relay_of(other).deliver(job.id, job.epoch, n, [text])
        got_here += here.take()
        got_there += there.take()
        await asyncio.sleep(0)

    await track(scene.world, scene.report(job, *"abcd"))
    await keep_up(other)

    assert got_here == got_there == list("abcd")
    assert here.final == there.final


async def test_a_place_in_an_answer_that_does_not_stand_is_refused() -> None:
    scene = await a_scene()

    with pytest.raises(NothingToContinue):
        await scene.submit(idempotency_key="gone", continues=True)

    job = await scene.submit(idempotency_key="stands")
    assert (await scene.submit(idempotency_key="stands", continues=True)).id == job.id
    assert await scene.balance() == CREDIT - job.reserved


async def test_what_cannot_be_resumed_and_was_read_is_not_begun_anew_by_the_next_home() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running(interactive=False)
    await note_reader(scene.world, job.id)
    scene.stream(job, "a")
    await upkeep.save_marks(scene.world)
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)

    ended = await failover(other, job.id, Epoch(1), Cause.LEASE_LOST, "silent")

    assert ended.status is JobStatus.FAILED


async def test_what_cannot_be_resumed_is_not_begun_anew_where_nobody_knows_how_much_was_read() -> (
    None
):
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running()
    await note_reader(scene.world, job.id)
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)

    ended = await failover(other, job.id, Epoch(1), Cause.LEASE_LOST, "silent")

    assert ended.status is JobStatus.FAILED


async def test_a_batch_job_that_nobody_read_is_begun_anew_however_far_it_was() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running(interactive=False)
    scene.stream(job, "a", "b")
    await upkeep.save_marks(scene.world)

    ended = await failover(scene.world, job.id, Epoch(1), Cause.LEASE_LOST, "silent")

    assert ended.status is JobStatus.QUEUED


async def test_who_becomes_home_lets_go_of_an_attempt_that_ended_while_it_followed() -> None:
    scene = await a_scene()
    await scene.island()
    await scene.island()
    job = await scene.running()
    island = scene.bus.assigned[-1].island_id
    other = scene.another()
    await watch(other, job.id)
    listened = other.relay.is_open(island, job.id, Epoch(1))
    await failover(scene.world, job.id, Epoch(1), Cause.LEASE_LOST, "silent")

    await adopting.adopt(other, job.id, scene.world.home)

    assert listened and not other.relay.is_open(island, job.id, Epoch(1))


async def test_a_job_that_moved_takes_no_slot_here() -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    island = scene.bus.assigned[-1].island_id
    before = scene.world.fleet.busy(island)
    await adopting.adopt(scene.another(), job.id, scene.world.home)

    await table.catch_up(scene.world)

    assert (before, scene.world.fleet.busy(island)) == (1, 0)


async def test_while_the_broker_is_away_nothing_is_given_out_and_the_reason_is_told() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.submit()
    scene.bus.connected = False

    waits = await dispatch(scene.world, job.id)
    scene.bus.connected = True
    runs = await dispatch(scene.world, job.id)

    assert (waits.status, waits.epoch) == (JobStatus.QUEUED, 0)
    assert waits.waiting_for == ("the message fabric cannot be reached; trying again",)
    assert runs.status is JobStatus.RUNNING


async def test_no_answer_from_an_island_that_resumes_is_no_yes() -> None:
    from archipelag_coordinator.services.ports import Unreachable

    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    await failover(scene.world, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    for island in scene.world.fleet.islands():
        scene.bus.always(island.id, Unreachable("no answer"))

    waits = await dispatch(scene.world, job.id)

    assert waits.status is JobStatus.QUEUED


async def test_items_that_only_the_report_shows_are_continued() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")

    report = scene.report(job, "a", "b", "c", cause=Cause.CARGO_DIED)
    await track(scene.world, report)
    await dispatch(scene.world, job.id)

    assert scene.bus.assigned[-1].resume_texts == ("a", "b", "c")
    assert reader.take() == ["b", "c"]


async def test_a_false_report_continues_nothing() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")
    forged = replace(scene.report(job, "a", "b", cause=Cause.CARGO_DIED), output_chain=b"x" * 32)

    await track(scene.world, forged)

    assert reader.take() == []
    assert (await scene.job(job.id)).cause is Cause.BAD_OUTPUT
