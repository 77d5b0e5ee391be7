"""A Coordinator stops: others are the home of its jobs before its readers have to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from archipelag_contracts.ids import JobId, RelayId
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services import adopt, upkeep
from archipelag_coordinator.services.cancel import cancel, leave
from archipelag_coordinator.services.failover import abandon
from archipelag_coordinator.services.follow import keep_up, look
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import CREDIT, an_id
from archipelag_coordinator.testing.fakes import FakeChunkRelay
from archipelag_coordinator.testing.worlds import Scene, a_scene

PROMPT, ITEM = 20, 100


async def streams(scene: Scene, count: int) -> list[tuple[object, object]]:
    for _ in range(count):
        await scene.island()
    found = []
    for number in range(count):
        job = await scene.running()
        reader = await watch(scene.world, job.id)
        scene.stream(job, f"a{number}", f"b{number}")
        reader.take()
        reader.delivered()
        found.append((job, reader))
    return found


async def test_who_reads_where_it_stops_reads_on_while_another_one_is_the_home() -> None:
    scene = await a_scene()
    ((job, reader),) = await streams(scene, 1)
    await upkeep.beat(scene.world)
    other = scene.another()

    await upkeep.hand_on(scene.world)
    taken = await adopt.adopt_left(other, scene.world.home)
    scene.stream(job, "c")
    assert isinstance(other.relay, FakeChunkRelay)
    other.relay.deliver(job.id, job.epoch, 2, ["c"])
    read = reader.take()
    done = await track(other, scene.report(job, "a0", "b0", "c"))
    await look(scene.world, job.id)

    assert scene.bus.told_left == [(scene.world.home, None)]
    assert (taken, read, done.status) == ([job.id], ["c"], JobStatus.SUCCEEDED)
    assert other.answers.own(job.id) is not None and scene.world.answers.own(job.id) is None
    assert reader.final is not None and reader.final.cause is Cause.COMPLETED


async def test_all_that_was_said_is_stored_before_anybody_takes_over() -> None:
    scene = await a_scene()
    found = await streams(scene, 3)
    other = scene.another()

    await upkeep.hand_on(scene.world)
    await adopt.adopt_left(other, scene.world.home)

    for number, (job, _) in enumerate(found):
        answer = other.answers.own(job.id)
        assert answer is not None
        assert answer.texts == [f"a{number}", f"b{number}"]
        assert (answer.stored, answer.delivered) == (2, 2)


async def test_what_comes_in_meanwhile_is_handed_on_at_the_end() -> None:
    scene = await a_scene()
    await upkeep.hand_on(scene.world)
    other = scene.another()
    await adopt.adopt_left(other, scene.world.home)
    ((late, _),) = await streams(scene, 1)

    await upkeep.hand_on(scene.world)

    assert await adopt.adopt_left(other, scene.world.home) == [late.id]


async def test_by_the_brokers_word_alone_nobody_loses_its_jobs() -> None:
    scene = await a_scene()
    ((job, _),) = await streams(scene, 1)
    await upkeep.beat(scene.world)
    other = scene.another()

    taken = [
        await adopt.adopt_left(other, scene.world.home),
        await adopt.adopt_left(other, RelayId(an_id("rly"))),
        await adopt.adopt_left(scene.world, scene.world.home),
    ]

    assert taken == [[], [], []]
    assert (await scene.job(job.id)).home == scene.world.home


async def test_several_take_their_portions_and_nobody_takes_one_twice() -> None:
    scene = await a_scene()
    jobs = [job for job, _ in await streams(scene, 5)]
    first, second = scene.another(), scene.another()
    await upkeep.hand_on(scene.world)

    taken = [
        await adopt.adopt_left(first, scene.world.home),
        await adopt.adopt_left(second, scene.world.home),
    ]

    assert sorted(taken[0] + taken[1]) == sorted(job.id for job in jobs)
    assert len(first.answers) + len(second.answers) == len(jobs)


async def test_whoever_comes_back_to_the_new_home_has_its_answer_without_the_database() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running(idempotency_key="again")
    scene.stream(job, "a")
    other = scene.another()

    await upkeep.hand_on(scene.world)
    await adopt.adopt_left(other, scene.world.home)

    known = other.answers.asked(job.user_id, "again")
    assert known is not None and known.id == job.id
    assert other.answers.asked(job.user_id, "another") is None


async def test_one_that_stops_takes_nothing_back_while_its_readers_leave() -> None:
    scene = await a_scene()
    ((job, _),) = await streams(scene, 1)
    await upkeep.hand_on(scene.world)

    await keep_up(scene.world)
    await table.catch_up(scene.world)
    await table.save_marks(scene.world)

    assert scene.world.answers.own(job.id) is None
    assert [loop.name for loop in table.TABLE if loop.to_the_end] == [
        "catch_up",
        "keep_up",
        "save_beats",
        "save_marks",
        "load_fleet",
    ]


async def an_orphan(scene: Scene) -> tuple[JobId, World]:
    """A job that another Coordinator took over, and whose reader has not come back there within the grace."""
    ((job, _),) = await streams(scene, 1)
    other = scene.another()
    await upkeep.hand_on(scene.world)
    await adopt.adopt_left(other, scene.world.home)
    scene.clock.advance(other.policy.orphan_grace_s + 1)
    assert upkeep.left_jobs(other) == [job.id]
    return job.id, other


async def test_who_cancels_while_the_new_home_reads_the_tail_pays_for_all_that_was_delivered() -> (
    None
):
    scene = await a_scene()
    ((job, reader),) = await streams(scene, 1)
    other = scene.another()
    await upkeep.hand_on(scene.world)
    await adopt.adopt_left(other, scene.world.home)
    scene.stream(job, "c", "d")
    reader.take()
    reader.delivered()
    await upkeep.save_marks(scene.world)

    ended = await cancel(other, scene.user.id, job.id)

    assert (ended.output_items, ended.output) == (4, "a0b0")
    assert await scene.balance() == CREDIT - 5 * PROMPT - 4 * ITEM
    assert (await scene.job(job.id)).delivered == 4
    async with scene.store.begin() as tx:
        (attempt,) = await tx.attempts.of_job(job.id)
    assert attempt.next_position == 4, "its Island is paid for what was delivered of it"


async def test_a_reader_who_comes_back_while_the_loop_looks_keeps_the_job() -> None:
    scene = await a_scene()
    job_id, other = await an_orphan(scene)
    async with scene.store.begin():  # So that whoever looks has to wait.
        looking = asyncio.create_task(table.cancel_left(other))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reader = await watch(other, job_id)

    await looking

    assert reader.final is None
    assert (await scene.job(job_id)).status is JobStatus.RUNNING


@pytest.mark.parametrize("end", [abandon, leave], ids=["orphaned", "left"])
@pytest.mark.parametrize("stays", [True, False], ids=["stays", "leaves again"])
async def test_a_reader_who_comes_back_while_the_job_waits_for_its_lock_keeps_it(
    end: Callable[[World, JobId], Awaitable[object]], stays: bool
) -> None:
    scene = await a_scene()
    job_id, other = await an_orphan(scene)
    async with scene.store.begin():
        ending = asyncio.create_task(end(other, job_id))
        await asyncio.sleep(0)
        reader = await watch(other, job_id)
        if not stays:
            reader.close()

    await ending

    assert (await scene.job(job_id)).status is JobStatus.RUNNING
