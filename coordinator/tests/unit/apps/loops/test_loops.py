"""Loops: each at its interval, by itself; a failing one goes on; the table's verbs in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.apps.loops.runner import Loop, Runner
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.builders import CREDIT
from archipelag_coordinator.testing.worlds import a_scene

FOREVER_S = 3_600.0


async def ran(loop: Loop, *, leader: bool = True, nudge: bool = False, turns: int = 1) -> int:
    """How often a loop ran until `turns` or until nothing more could happen."""
    scene = await a_scene()
    count = 0
    enough = asyncio.Event()

    async def counting(world: World) -> None:
        nonlocal count
        count += 1
        if count >= turns:
            enough.set()
        await loop.verb(world)

    counted = replace(loop, verb=counting)
    runner = Runner([counted], lambda: leader)
    task = asyncio.create_task(runner.run(scene.world))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if nudge:
        runner.nudge()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05 if not leader or turns > count + 1 else 5):
            await enough.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return count


async def nothing(_: World) -> None:
    """A verb."""


async def test_a_nudged_loop_that_has_just_run_waits_for_a_while() -> None:
    soon = Loop("soon", FOREVER_S, nothing, nudged=True, least_s=0.02)
    late = Loop("late", FOREVER_S, nothing, nudged=True, least_s=FOREVER_S / 2)

    assert await ran(soon, nudge=True, turns=2) == 2
    assert await ran(late, nudge=True, turns=3) == 1


async def test_a_loop_runs_again_and_again() -> None:
    assert await ran(Loop("quick", 0.0, nothing), turns=2) >= 2


async def test_a_nudged_loop_runs_at_once() -> None:
    assert await ran(Loop("slow", FOREVER_S, nothing, nudged=True), nudge=True, turns=2) == 2


async def test_who_does_not_lead_leaves_leaders_work_alone() -> None:
    assert await ran(Loop("theirs", 0.0, nothing, leader_only=True), leader=False) == 0


async def test_a_leader_that_was_just_elected_takes_nothing_over_yet() -> None:
    ran: list[str] = []

    async def verb(name: str, _: World) -> None:
        ran.append(name)

    loops = [
        Loop("lead", FOREVER_S, partial(verb, "lead"), leader_only=True),
        Loop("take over", FOREVER_S, partial(verb, "take over"), settled_only=True),
    ]
    for settled in (False, True):
        runner = Runner(loops, lambda: True, lambda settled=settled: settled)  # type: ignore[misc]
        task = asyncio.create_task(runner.run((await a_scene()).world))
        await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert ran == ["lead", "lead", "take over"]


async def test_a_loop_that_fails_goes_on_and_says_why_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails(_: World) -> None:
        raise OSError("the database is away")

    with caplog.at_level(logging.ERROR):
        count = await ran(Loop("unlucky", 0.0, fails), turns=2)

    assert count >= 2
    traces = [record.exc_info is not None and bool(record.exc_info) for record in caplog.records]
    assert traces[0] and not any(traces[1:])


def test_every_loop_of_the_table_has_a_name_of_its_own_and_an_interval() -> None:
    names = [loop.name for loop in table.TABLE]

    assert len(names) == len(set(names))
    assert all(0.1 <= loop.every_s <= 60 for loop in table.TABLE)


async def test_waiting_jobs_are_dispatched_when_an_island_comes() -> None:
    scene = await a_scene()
    jobs = [await scene.running() for _ in range(3)]
    await scene.island()

    await table.dispatch_waiting(scene.world)

    assert {(await scene.job(job.id)).status for job in jobs} == {JobStatus.RUNNING}


async def test_a_silent_stream_is_given_to_another_island() -> None:
    scene = await a_scene()
    await scene.island()
    await scene.island()
    job = await scene.running()
    scene.clock.advance(2.1)

    await table.watch_silence(scene.world)
    await table.dispatch_waiting(scene.world)

    running = await scene.job(job.id)
    assert (running.status, running.epoch) == (JobStatus.RUNNING, 2)


async def test_a_reader_who_left_cancels_after_the_grace() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    (await watch(scene.world, job.id)).close()
    scene.clock.advance(scene.world.policy.reader_grace_s + 0.1)

    await table.cancel_left(scene.world)

    cancelled = await scene.job(job.id)
    assert (cancelled.status, cancelled.error) == (JobStatus.CANCELLED, "the reader left")


ENDS: list[tuple[Callable[[World], Awaitable[None]], float, JobStatus, Cause | None]] = [
    (table.break_leases, 61, JobStatus.QUEUED, None),
    (table.end_overdue, 331, JobStatus.FAILED, Cause.DEADLINE),
    (table.watch_islands, 36, JobStatus.RUNNING, None),
]


@pytest.mark.parametrize(("verb", "after_s", "status", "cause"), ENDS)
async def test_time_ends_what_it_must(
    verb: Callable[[World], Awaitable[None]],
    after_s: float,
    status: JobStatus,
    cause: Cause | None,
) -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running(interactive=False)
    if cause is Cause.DEADLINE:
        # A batch job may wait longer before its deadline counts.
        after_s += scene.world.policy.queue_wait_batch_s
    scene.clock.advance(after_s)

    await verb(scene.world)

    ended = await scene.job(job.id)
    assert (ended.status, ended.cause) == (status, cause)


async def test_an_island_lost_for_good_gives_back_its_jobs() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running(interactive=False)
    scene.clock.advance(36)
    await table.watch_islands(scene.world)
    scene.clock.advance(85)

    await table.watch_islands(scene.world)
    await table.break_leases(scene.world)

    assert (await scene.job(job.id)).status is JobStatus.QUEUED


async def test_a_reader_who_lost_its_coordinator_and_stays_away_pays_nothing() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "Hel", "lo")
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    answer.taken = answer.delivered = 2
    await table.save_marks(scene.world)
    other = scene.another()

    await table.take_over(other)
    scene.clock.advance(other.policy.orphan_grace_s)
    await table.cancel_left(other)
    waits = await scene.job(job.id)
    scene.clock.advance(0.1)
    await table.cancel_left(other)

    ended = await scene.job(job.id)
    assert waits.status is JobStatus.RUNNING
    assert (ended.status, ended.cause) == (JobStatus.FAILED, Cause.COORDINATOR_LOST)
    assert ended.delivered == 2
    assert await scene.balance() == CREDIT


async def test_a_reader_hears_of_an_end_that_nobody_told() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    await cancel_here(scene.another(), job.id, "elsewhere")
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.final is None

    await table.catch_up(scene.world)

    assert answer.final is not None and answer.final.cause is Cause.CANCELLED


async def test_deaf_ourselves_we_call_nobody_silent() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.clock.advance(60)
    scene.relay.deaf = True

    await table.watch_silence(scene.world)

    assert (await scene.job(job.id)).status is JobStatus.RUNNING


async def test_what_is_heard_is_saved() -> None:
    scene = await a_scene()
    island = await scene.island()
    await scene.running()
    scene.world.fleet.saw(island, [])

    await table.save_beats(scene.world)
    await table.save_marks(scene.world)

    assert scene.world.fleet.take_beats() == []


async def test_who_leaves_waits_for_turns_under_way_but_not_for_ever_and_not_for_those_that_go_on() -> (
    None
):
    begun, may_end = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def held_up(_: World) -> None:
        begun.set()
        await may_end.wait()
        ran.append("beat")

    async def goes_on(_: World) -> None:
        await asyncio.Event().wait()

    loops = [
        Loop("beat", 0.0, held_up),
        Loop("keep", FOREVER_S, goes_on, to_the_end=True),
    ]
    runner = Runner(loops, lambda: True)
    task = asyncio.create_task(runner.run((await a_scene()).world))
    await begun.wait()
    await runner.leave(0.01)
    too_soon = list(ran)
    asyncio.get_running_loop().call_soon(may_end.set)
    await runner.leave(FOREVER_S)
    at_last = list(ran)
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert (too_soon, at_last, ran) == ([], ["beat"], ["beat"])
