"""What every store must do when jobs change their homes; part of `CheckStore`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from archipelag_contracts.ids import Epoch, JobId, RelayId

from archipelag_coordinator.domain.attempt import AttemptStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.ports import OnDisk, Store
from archipelag_coordinator.testing.builders import HOME, a_job, an_attempt, an_id
from archipelag_coordinator.testing.check_work import Scene
from archipelag_coordinator.testing.fakes import START


class CheckHomes:
    async def test_what_goes_ahead_of_the_disk_stands_or_was_never_there(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        kept, dropped = (a_job(scene.user, key=scene.key, cargo=scene.cargo) for _ in range(2))
        async with store.begin() as tx:
            on_disk = tx.ahead_of_disk()
            await tx.jobs.add(kept)
        await on_disk()

        async def fail() -> None:
            async with store.begin() as tx:
                waits.append(tx.ahead_of_disk())
                await tx.jobs.add(dropped)
                raise ZeroDivisionError

        waits: list[OnDisk] = []
        with pytest.raises(ZeroDivisionError):
            await fail()
        await waits[0]()

        async with store.begin() as tx:
            found = [await tx.jobs.get(job.id) for job in (kept, dropped)]

        assert found == [kept, None]

    async def test_a_job_changes_its_home_once_and_never_after_its_end(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, ended = await scene.job(), await scene.job(status=JobStatus.FAILED)
        other, third = RelayId(an_id("rly")), RelayId(an_id("rly"))

        async with store.begin() as tx:
            taken = await tx.jobs.take_home(job.id, other, was=HOME)
            late = await tx.jobs.take_home(job.id, third, was=HOME)
            dead = await tx.jobs.take_home(ended.id, other, was=HOME)
            ours = await tx.jobs.unfinished_of(other, 10)
            theirs = await tx.jobs.unfinished_of(HOME, 10)

        assert (taken, late, dead) == (True, False, False)
        assert (ours, theirs) == ([job.id], [])
        assert await scene.stored(job) == replace(job, home=other)

    async def test_jobs_of_the_dead_are_adopted_once(self, store: Store) -> None:
        scene = await Scene.of(store)
        dead, alive = RelayId(an_id("rly")), RelayId(an_id("rly"))
        orphans = [await scene.job(home=dead), await scene.job(home=dead)]
        await scene.job(home=alive)
        await scene.job(home=dead, status=JobStatus.FAILED)

        async with store.begin() as tx:
            first = await tx.jobs.adopt(HOME, [alive], 1)
            second = await tx.jobs.adopt(HOME, [alive], 10)
            third = await tx.jobs.adopt(HOME, [alive], 10)

        assert first + second == sorted(job.id for job in orphans)
        assert third == []
        assert (await scene.stored(orphans[0])).home == HOME

    async def test_jobs_of_one_who_leaves_are_taken_in_portions_and_each_once(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        leaves, stays, ours = (RelayId(an_id("rly")) for _ in range(3))
        theirs = [await scene.job(home=leaves) for _ in range(3)]
        await scene.job(home=stays)
        await scene.job(home=leaves, status=JobStatus.FAILED)
        some = [theirs[2].id, JobId(an_id("job"))]

        async with store.begin() as tx:
            among = await tx.jobs.adopt_of(ours, [leaves], 10, some)
            first = await tx.jobs.adopt_of(ours, [leaves], 1)
            second = await tx.jobs.adopt_of(ours, [leaves], 10)
            third = await tx.jobs.adopt_of(ours, [leaves], 10)
            nobody = await tx.jobs.adopt_of(ours, [], 10)
            found = await tx.jobs.several([job.id for job in theirs] + some)

        assert among == [theirs[2].id]
        assert sorted(first + second) == sorted(job.id for job in theirs[:2])
        assert (len(first), third, nobody) == (1, [], [])
        expected = sorted((replace(job, home=ours) for job in theirs), key=lambda job: job.id)
        assert found == expected

    async def test_the_current_attempts_of_several_jobs(self, store: Store) -> None:
        scene = await Scene.of(store)
        waits = await scene.job()
        runs = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(2))
        lost = an_attempt(runs, scene.island, epoch=Epoch(1), status=AttemptStatus.LOST)
        newest = an_attempt(runs, scene.island, epoch=Epoch(2))

        async with store.begin() as tx:
            await tx.attempts.add(lost)
            await tx.attempts.add(newest)
            found = await tx.attempts.current([waits.id, runs.id, JobId(an_id("job"))])

        assert found == [newest]

    async def test_saving_does_not_undo_an_adoption(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(home=RelayId(an_id("rly")))
        async with store.begin() as tx:
            await tx.jobs.adopt(HOME, [], 10)

        async with store.begin() as tx:
            await tx.jobs.save(job.start(START), was=job)

        assert await scene.stored(job) == replace(job.start(START), home=HOME)
