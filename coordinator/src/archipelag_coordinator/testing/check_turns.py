"""What every store must do with jobs that wait; part of `CheckStore`."""

from __future__ import annotations

from random import Random

from archipelag_contracts.ids import RelayId

from archipelag_coordinator.domain.fair import in_turn
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import HOME, an_id
from archipelag_coordinator.testing.check_work import MINUTE, SECOND, Scene
from archipelag_coordinator.testing.fakes import START


class CheckTurns:
    async def test_waiting_of_one_account_are_by_priority_then_age(self, store: Store) -> None:
        scene = await Scene.of(store)
        young = await scene.job(created_at=START + MINUTE)
        old = await scene.job()
        urgent = await scene.job(created_at=START + 2 * MINUTE, priority=5)
        await scene.job(status=JobStatus.RUNNING)
        await scene.job(home=RelayId(an_id("rly")))

        async with store.begin() as tx:
            assert await tx.jobs.waiting(HOME, 10) == [urgent.id, old.id, young.id]
            assert await tx.jobs.waiting(HOME, 1) == [urgent.id]

    async def test_waiting_are_in_turn_whoever_waits_for_whatever(self, store: Store) -> None:
        first = await Scene.of(store)
        second = await Scene.of(store)
        mixed = Scene(store, first.user, first.key, second.cargo, second.island)
        scenes = [first, first, first, second, mixed]
        elsewhere, chance = RelayId(an_id("rly")), Random(6)
        jobs = [
            await chance.choice(scenes).job(
                created_at=START + chance.randrange(9) * SECOND,
                priority=chance.choice((0, 0, 0, 5)),
                status=chance.choice(
                    (JobStatus.QUEUED,) * 3 + (JobStatus.RUNNING, JobStatus.FAILED)
                ),
                home=chance.choice((HOME, HOME, HOME, elsewhere)),
            )
            for _ in range(60)
        ]
        counted = [job for job in jobs if job.status is JobStatus.RUNNING or job.home == HOME]
        expected = [job.id for job in in_turn(counted)]

        async with store.begin() as tx:
            assert await tx.jobs.waiting(HOME, 100) == expected
            assert await tx.jobs.waiting(HOME, 7) == expected[:7]
