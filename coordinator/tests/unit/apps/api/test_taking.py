"""Taking a request: in one transaction with its first attempt, a few at once, and without a trace where it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from archipelag_coordinator.apps.api.asking import make_job
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.errors import InsufficientCredits
from archipelag_coordinator.services.ports import Refused
from archipelag_coordinator.testing.worlds import Scene, a_scene


class Counted:
    """A store that counts its transactions, and how many are open."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.begun = 0
        self.open = self.most = 0
        self.fails = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        self.begun += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            async with self._store.begin() as tx:
                yield tx
                await asyncio.sleep(0.001)
                if self.fails:
                    raise ConnectionError("the database was lost")
        finally:
            self.open -= 1


async def taking(**scene: Any) -> tuple[Scene, Counted]:
    made = await a_scene(**scene)
    await made.island()
    counted = Counted(made.store)
    made.world = replace(made.world, store=counted)
    return made, counted


def given(scene: Scene) -> int:
    """Slots that count as taken."""
    return sum(len(berth.given) for berth in scene.world.fleet._berths.values())


async def test_a_request_and_its_first_attempt_are_one_transaction() -> None:
    scene, store = await taking()

    made = await make_job(scene.world, scene.submission())

    assert store.begun == 1
    assert made.job.status is JobStatus.RUNNING and made.job.epoch == 1
    assert await scene.job(made.job.id) == made.job
    assert [one.job_id for one in scene.bus.assigned] == [made.job.id]
    answer = scene.world.answers.own(made.job.id)
    assert answer is not None and answer.running and given(scene) == 1


async def test_when_the_first_island_says_no_the_next_one_is_asked() -> None:
    scene, _ = await taking()
    scene.bus.answer((await scene.island()).id, Refused("busy"))
    scene.bus.answer((await scene.island()).id, Refused("busy"))
    busy = {one.id for one in scene.world.fleet.islands()}

    made = [await make_job(scene.world, scene.submission(request_hash=b"%d" % n)) for n in range(8)]

    assert {one.job.status for one in made} == {JobStatus.RUNNING}
    assert max(one.job.epoch for one in made) > 1
    assert {one.island_id for one in scene.bus.assigned} == busy
    assert given(scene) == 8


@pytest.mark.parametrize("lost", [False, True])
async def test_what_is_not_taken_leaves_no_slot_no_answer_and_no_attempt(lost: bool) -> None:
    scene, store = await taking(credit=0 if not lost else 10**9)
    store.fails = lost

    with pytest.raises(ConnectionError if lost else InsufficientCredits):
        await make_job(scene.world, scene.submission())

    assert (given(scene), len(scene.world.answers), scene.bus.assigned) == (0, 0, [])


async def test_the_same_request_many_times_at_once_takes_one_slot() -> None:
    scene, _ = await taking()
    same = scene.submission(idempotency_key="once")

    made = await asyncio.gather(*(make_job(scene.world, same) for _ in range(5)))

    assert len({one.job.id for one in made}) == 1
    assert (given(scene), len(scene.bus.assigned), len(scene.world.answers)) == (1, 1, 1)


async def test_without_an_island_the_job_waits_and_says_why() -> None:
    scene = await a_scene()

    made = await make_job(scene.world, scene.submission())

    assert made.job.status is JobStatus.QUEUED
    assert made.job.waiting_for == ("no Island is connected",)


async def test_a_crowd_is_taken_a_few_at_a_time() -> None:
    scene, store = await taking()
    scene.world = replace(scene.world, submitting=asyncio.Semaphore(2))

    await asyncio.gather(
        *(make_job(scene.world, scene.submission(request_hash=b"%d" % n)) for n in range(6))
    )

    assert store.most <= 2


async def test_what_nobody_takes_is_placed_and_counted_once() -> None:
    scene, store = await taking()
    await scene.running()
    for island in scene.world.fleet.islands():
        scene.world.fleet.load([replace(island, slots=0)])
    before = store.begun

    made = await make_job(scene.world, scene.submission(request_hash=b"another"))

    assert (scene.world.tally.unplaced, store.begun - before) == (1, 1)
    assert await scene.job(made.job.id) == made.job
    answer = scene.world.answers.own(made.job.id)
    assert answer is not None and answer.waiting == made.job.waiting_for != ()
