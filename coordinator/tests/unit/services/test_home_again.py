"""A job whose home was taken over twice: what is known from before is of an attempt that has ended since."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_contracts.ids import Epoch
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.services import adopt as adopting
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.follow import keep_up
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing.worlds import a_scene

from .test_adopt import a_stream, relay_of


async def test_a_home_that_was_away_goes_on_with_the_attempt_that_another_one_began() -> None:
    scene = await a_scene()
    job, reader = await a_stream(scene, "a")
    other = scene.another()
    await adopting.adopt(other, job.id, scene.world.home)
    await failover(other, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    again = await dispatch(other, job.id)

    await adopting.adopt(scene.world, job.id, other.home)
    heard = scene.relay.deliver(job.id, again.epoch, 1, ["b"])

    assert (heard, reader.take()) == (None, ["b"])
    assert scene.relay.opened_for[-1] == other.home


@pytest.mark.parametrize("hears", ["the report", "that it waits"])
async def test_a_home_that_was_away_counts_no_slot_for_what_ended_meanwhile(hears: str) -> None:
    scene = await a_scene()
    job, _ = await a_stream(scene, "a")
    await scene.island()
    had = scene.bus.assigned[-1].island_id
    other = replace(scene.another(), fleet=Fleet())
    other.fleet.load(scene.world.fleet.islands())
    await adopting.adopt(other, job.id, scene.world.home)
    await failover(other, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    again = await dispatch(other, job.id)
    before = scene.world.fleet.busy(had)

    if hears == "the report":
        await track(scene.world, scene.report(again, "b", first_position=1, next_position=2))
    else:
        await failover(other, job.id, Epoch(2), Cause.LEASE_LOST, "silent")
        await adopting.adopt(scene.world, job.id, other.home)
        await table.dispatch_waiting(scene.world)

    assert had not in [one.island_id for one in scene.bus.assigned[1:]]
    assert (before, scene.world.fleet.busy(had)) == (1, 0)


async def test_what_was_taken_over_and_handed_on_again_follows_the_next_attempt_here() -> None:
    scene = await a_scene()
    await scene.island()
    job, _ = await a_stream(scene, "a", "b")
    middle, last = scene.another(), scene.another()
    await adopting.adopt(middle, job.id, scene.world.home)
    slow = await watch(middle, job.id)
    taken = slow.take()
    await upkeep.hand_on(middle)
    await adopting.adopt_left(last, middle.home)
    relay_of(middle).deliver(job.id, job.epoch, 2, ["c"])  # The new home did not hear it.
    await failover(last, job.id, Epoch(1), Cause.LEASE_LOST, "silent")
    again = await dispatch(last, job.id)

    await keep_up(middle)
    relay_of(middle).deliver(again.id, again.epoch, 2, ["c", "d"])

    assert scene.bus.assigned[-1].first_position == 2
    assert (taken, slow.take()) == (["a", "b"], ["c", "d"])
