"""Reading an answer: each reader has a place of its own, and is woken when there is something new."""

from __future__ import annotations

import asyncio

import pytest
from archipelag_contracts.ids import JobId
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing.builders import an_id
from archipelag_coordinator.testing.worlds import a_scene


async def test_items_are_taken_once_and_in_order_by_each_reader() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    fast, slow = await watch(scene.world, job.id), await watch(scene.world, job.id)

    scene.stream(job, "a", "b")
    first = fast.take()
    scene.stream(job, "c")

    assert (first, fast.take(), fast.take()) == (["a", "b"], ["c"], [])
    assert slow.take() == ["a", "b", "c"]
    assert fast.prompt_tokens == 5


async def test_delivered_is_what_was_written_and_taken_is_what_was_handed_out() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    scene.stream(job, "a", "b")

    reader.take()
    before = (answer.taken, answer.delivered)
    reader.delivered()

    assert before == (2, 0)
    assert answer.delivered == 2


async def test_a_reader_is_woken_by_items_progress_reasons_and_the_end() -> None:
    scene = await a_scene()
    job = await scene.submit()
    reader = await watch(scene.world, job.id)
    assert not await reader.wait(0.001)

    woken = asyncio.ensure_future(reader.wait(5))
    await asyncio.sleep(0)
    await dispatch(scene.world, job.id)
    assert await woken
    assert reader.waiting == ("no Island is connected",)

    await scene.island()
    await dispatch(scene.world, job.id)
    assert await reader.wait(5), "the reasons are gone: that is news"
    woken = asyncio.ensure_future(reader.wait(5))
    await asyncio.sleep(0)
    scene.stream(job := await scene.job(job.id), "a")
    assert await woken
    assert reader.take() == ["a"]
    assert reader.first_item_s == 0.0

    woken = asyncio.ensure_future(reader.wait(5))
    await asyncio.sleep(0)
    await track(scene.world, scene.report(job, "a"))
    assert await woken
    assert reader.final is not None and reader.final.status == "succeeded"
    assert await reader.wait(5), "after the end there is always news"


async def test_waiting_ends_in_time_also_after_an_earlier_longer_wait() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    woken = asyncio.ensure_future(reader.wait(60))
    await asyncio.sleep(0)
    scene.stream(job, "a")
    assert await woken
    reader.take()

    assert not await reader.wait(0.01)
    assert not await reader.wait(0.02), "a timer that is already set serves the next wait"
    reader.close()


async def test_waiting_for_the_end_sleeps_through_items_and_takes_none() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    waiting = asyncio.ensure_future(reader.wait_final())
    scene.stream(job, "a", "b")
    for _ in range(10):
        await asyncio.sleep(0)
    before = waiting.done()

    await track(scene.world, scene.report(job, "a", "b"))

    assert not before
    assert (await waiting).status == "succeeded"
    assert reader.position == 0 and reader.take() == ["a", "b"]


async def test_a_reader_goes_on_where_it_was_also_before_that_is_known_here() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "a", "b", "c")
    reader = await watch(scene.world, job.id)

    reader.seek(2)
    late = reader.take()
    reader.seek(5)
    scene.stream(job, "d", "e")
    early = reader.take()
    scene.stream(job, "f")

    assert (late, early, reader.take()) == (["c"], [], ["f"])
    assert reader.position == 6


async def test_nobody_claims_to_have_read_more_than_there_may_be() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    answer = scene.world.answers.get(job.id)
    assert answer is not None

    reader.seek(10**9)
    scene.stream(job, "a")
    reader.delivered()

    assert reader.position == job.output_items_max
    assert (answer.taken, answer.delivered) == (0, 1)


async def test_the_last_reader_to_leave_starts_the_grace_and_one_who_comes_ends_it() -> None:
    scene = await a_scene()
    job = await scene.submit()
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    one, two = await watch(scene.world, job.id), await watch(scene.world, job.id)
    scene.clock.advance(3)

    one.close()
    one.close()
    still_there = answer.left_at
    two.close()
    left_at = answer.left_at
    await watch(scene.world, job.id)

    assert (still_there, left_at) == (None, 3.0)
    assert answer.left_at is None and answer.readers == 1


async def test_what_is_no_longer_relayed_is_read_from_the_store() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "Hel", "lo")
    await track(scene.world, scene.report(job, "Hel", "lo"))
    scene.world.answers.drop(job.id)

    reader = await watch(scene.world, job.id)

    assert await reader.wait(1)
    assert "".join(reader.take()) == "Hello"
    assert reader.position == 2, "positions are those of the answer"
    assert reader.final is not None and reader.final.usage.output_items == 2
    assert reader.prompt_tokens == 5


async def test_a_cancelled_job_shows_what_was_delivered() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running(interactive=False)
    scene.stream(job, "a", "b")
    await cancel(scene.world, scene.user.id, job.id)
    scene.world.answers.drop(job.id)

    reader = await watch(scene.world, job.id)

    assert reader.take() == ["a", "b"]
    assert reader.final is not None and reader.final.status == "cancelled"


async def test_an_unknown_job_is_not_found() -> None:
    scene = await a_scene()

    with pytest.raises(NotFound):
        await watch(scene.world, JobId(an_id("job")))
