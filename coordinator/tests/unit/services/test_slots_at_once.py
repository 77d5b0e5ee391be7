"""Jobs that are given away side by side: a free slot is one job's from the choice on, and not for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.expect import rooms
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.worlds import Scene, a_scene


class Slow:
    """A store whose commits are answered a while after they stand, or never."""

    def __init__(self, scene: Scene, *, broken: bool = False) -> None:
        self._store = scene.store
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        async with self._store.begin() as tx:
            yield tx
            if self.broken:
                raise ConnectionError("the database went away")
        for _ in range(20):
            await asyncio.sleep(0)


async def one_slot() -> tuple[Scene, Slow]:
    scene = await a_scene()
    await scene.island(offers=(builders.an_offer(scene.cargo, slots=1),), slots=1)
    store = Slow(scene)
    scene.world = replace(scene.world, store=store)
    return scene, store


async def test_jobs_given_away_side_by_side_do_not_take_the_same_slot() -> None:
    scene, _ = await one_slot()
    jobs = [await scene.submit(request_hash=b"%d" % n) for n in range(5)]

    given = await asyncio.gather(*(dispatch(scene.world, job.id) for job in jobs))

    assert [one.job_id for one in scene.bus.assigned] == [jobs[0].id]
    assert [job.status for job in given] == [JobStatus.RUNNING] + 4 * [JobStatus.QUEUED]
    assert [job.epoch for job in given] == [1, 0, 0, 0, 0], "nobody was refused"


async def test_a_slot_is_free_again_where_the_attempt_was_not_stored() -> None:
    scene, store = await one_slot()
    job = await scene.submit()
    store.broken = True

    with pytest.raises(ConnectionError):
        await dispatch(scene.world, job.id)

    assert rooms(scene.world).free[scene.cargo.digest] == 1
    store.broken = False
    assert (await dispatch(scene.world, job.id)).status is JobStatus.RUNNING
