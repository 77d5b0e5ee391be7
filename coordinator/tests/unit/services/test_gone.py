"""What an Island was streaming is given up soon after the broker said that it is gone, unless it is heard again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.gone import Left, left_behind
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def streaming() -> tuple[Scene, Island, Job]:
    scene = await a_scene()
    island = await scene.island(broker_rtt_ms=0.0)
    job = await scene.running()
    scene.clock.advance(1)
    scene.stream(job, "Hel")
    return scene, island, job


def look(scene: Scene, island: Island, gone_at: float) -> Left:
    return left_behind(scene.world, island.id, gone_at)


async def test_its_stream_is_given_up_after_the_grace_and_not_before() -> None:
    scene, island, job = await streaming()

    at_once = look(scene, island, 1.0)
    scene.clock.advance(0.39)
    early = look(scene, island, 1.0)
    scene.clock.advance(0.02)
    late = look(scene, island, 1.0)

    assert at_once == Left((), pytest.approx(0.4))
    assert early == Left((), pytest.approx(0.01))
    assert late == Left(((job.id, job.epoch),), None)


async def test_an_island_that_is_heard_again_keeps_its_stream() -> None:
    scene, island, job = await streaming()

    scene.clock.advance(0.3)
    scene.stream(job, "lo")
    scene.clock.advance(0.3)
    waiting = look(scene, island, 1.0)
    scene.clock.advance(0.1)
    scene.stream(job, "!")
    scene.clock.advance(1.5)

    assert waiting.attempts == () and waiting.again_s is not None
    assert look(scene, island, 1.0) == Left()


async def test_last_words_that_come_late_are_no_sign_of_life() -> None:
    scene, island, job = await streaming()

    scene.clock.advance(0.01)
    scene.stream(job, "lo")
    scene.clock.advance(0.5 + 0.4)

    assert look(scene, island, 1.0).attempts == ((job.id, job.epoch),)


async def test_a_far_island_has_time_for_its_round_trips_and_never_more_than_silence() -> None:
    scene, island, _ = await streaming()
    waits = []

    for round_trip_ms in (100.0, 5_000.0):
        scene.world.fleet.saw(replace(island, broker_rtt_ms=round_trip_ms), [])
        waits.append(look(scene, island, 1.0).again_s)

    assert waits == [pytest.approx(0.8), scene.world.policy.stream_silence_s]


async def test_another_islands_stream_is_not_touched() -> None:
    scene, _, _ = await streaming()
    other = await scene.island()
    scene.clock.advance(5)

    assert look(scene, other, 1.0) == Left()


async def test_what_nobody_waits_for_is_left_to_the_lease() -> None:
    scene = await a_scene()
    island = await scene.island(broker_rtt_ms=0.0)
    await scene.running(interactive=False)
    scene.clock.advance(5)

    assert look(scene, island, 1.0) == Left()


async def test_a_stream_that_was_ended_waits_for_its_report() -> None:
    scene, island, job = await streaming()
    scene.relay.end(job.id, job.epoch, Ending(Cause.COMPLETED))
    scene.clock.advance(5)

    assert look(scene, island, 1.0) == Left()
