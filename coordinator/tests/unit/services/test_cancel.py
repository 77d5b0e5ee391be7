"""Who cancels just after a job has moved pays for what was delivered, though not all of it has come here yet."""

from __future__ import annotations

import asyncio

import pytest
from archipelag_contracts.ids import Position
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.services import adopt, cancel, upkeep
from archipelag_coordinator.services.ports import Mark
from archipelag_coordinator.services.world import World
from archipelag_coordinator.testing.fakes import FakeChunkRelay
from archipelag_coordinator.testing.worlds import Scene, a_scene


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "CATCH_UP_S", 0.0)


async def moved(scene: Scene) -> tuple[Job, World]:
    """A job whose home has moved with two items, while its reader had five by then."""
    await scene.island()
    job = await scene.running()
    scene.stream(job, "a", "b")
    other = scene.another()
    await upkeep.hand_on(scene.world)
    await adopt.adopt_left(other, scene.world.home)
    async with scene.store.begin() as tx:
        await tx.jobs.mark_delivered([Mark(job.id, Position(5), 0, None)])
    return job, other


async def test_what_comes_a_moment_later_is_charged() -> None:
    scene = await a_scene()
    job, other = await moved(scene)
    assert isinstance(other.relay, FakeChunkRelay)

    cancelling = asyncio.create_task(cancel.cancel(other, scene.user.id, job.id))
    await asyncio.sleep(0)
    other.relay.deliver(job.id, job.epoch, 2, ["c", "d", "e", "f"])
    done = await cancelling

    assert (done.status, done.delivered, done.output) == (JobStatus.CANCELLED, 5, "abcde")


async def test_what_does_not_come_is_not_waited_for_for_ever() -> None:
    scene = await a_scene()
    job, other = await moved(scene)

    done = await cancel.cancel(other, scene.user.id, job.id)

    assert (done.status, done.output) == (JobStatus.CANCELLED, "ab")
    assert done.charged == (await scene.job(job.id)).charged
