"""While nobody could write, nobody was late: leases, Islands and reports are given the time to catch up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.footing import Footing
from archipelag_coordinator.domain.island import Beat
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.heartbeat import HeldNow, heartbeat
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.worlds import Scene, a_scene


def a_beat(sequence: int) -> Beat:
    return Beat(
        sequence=sequence,
        boot_id="boot-2",
        offers=(),
        slots=4,
        draining=False,
        broker_rtt_ms=3.0,
        load=0.2,
    )


async def a_standing_scene() -> tuple[Scene, World]:
    """With a footing of its own, which has stood for a minute."""
    scene = await a_scene()
    world = replace(scene.world, footing=Footing())
    await beat_for(scene, world, 60)
    return scene, world


async def beat_for(scene: Scene, world: World, seconds: int) -> None:
    for _ in range(0, seconds, 2):
        await upkeep.beat(world)
        scene.clock.advance(2)


async def test_a_lease_that_ran_out_while_the_store_was_away_is_not_broken_at_its_return() -> None:
    scene, world = await a_standing_scene()
    await scene.island()
    job = await scene.running()

    scene.clock.advance(100)  # away
    await beat_for(scene, world, 16)
    early = await upkeep.expired_leases(world, 10)
    await beat_for(scene, world, 4)
    late = await upkeep.expired_leases(world, 10)

    assert early == []
    assert late == [(job.id, job.epoch)], "an Island that did not come back has lost it"


async def test_while_the_broker_is_away_no_lease_is_broken() -> None:
    scene, world = await a_standing_scene()
    await scene.island()
    await scene.running()

    scene.bus.connected = False
    await beat_for(scene, world, 100)
    scene.bus.connected = True
    await beat_for(scene, world, 10)

    assert await upkeep.expired_leases(world, 10) == []


async def test_an_ended_stream_waits_for_its_report_from_the_stores_return_on() -> None:
    scene, world = await a_standing_scene()
    await scene.island()
    job = await scene.running()
    scene.relay.end(job.id, job.epoch, Ending(Cause.COMPLETED))

    scene.clock.advance(40)  # away
    at_return = upkeep.silent_streams(world)
    await beat_for(scene, world, 8)
    early = upkeep.silent_streams(world)
    await beat_for(scene, world, 4)
    late = upkeep.silent_streams(world)

    assert at_return == [] == early
    assert [one.job_id for one in late] == [job.id]


async def test_a_running_stream_is_silent_whatever_the_store_does() -> None:
    scene, world = await a_standing_scene()
    await scene.island()
    job = await scene.running()

    scene.clock.advance(40)

    assert [one.job_id for one in upkeep.silent_streams(world)] == [job.id]


async def test_heartbeats_that_could_not_be_saved_are_saved_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, world = await a_standing_scene()
    island = await scene.island()
    await heartbeat(world, island.id, a_beat(7), [])
    heard_at = scene.clock.now()

    class Away(Exception):
        pass

    def away() -> None:
        raise Away

    with monkeypatch.context() as context:
        context.setattr(scene.store, "begin", away)
        with pytest.raises(Away):
            await upkeep.save_beats(world)
    scene.clock.advance(30)
    saved = await upkeep.save_beats(world)

    async with scene.store.begin() as tx:
        stored = await tx.islands.get(island.id)
    assert saved == 1
    assert stored is not None and (stored.sequence, stored.seen_at) == (7, heard_at)


async def test_what_was_reported_and_not_settled_keeps_its_lease() -> None:
    scene, world = await a_standing_scene()
    island = await scene.island()
    job = await scene.running()

    for sequence in range(3):
        await beat_for(scene, world, 40)
        held = [HeldNow((job.id, job.epoch), reported=True, next_position=3)]
        told = await heartbeat(world, island.id, a_beat(sequence), held)

    assert told.resend == ((job.id, job.epoch),)
    assert await upkeep.expired_leases(world, 10) == []
