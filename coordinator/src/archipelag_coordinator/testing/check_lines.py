"""What every store must tell of the lines before the slots; part of `CheckStore`."""

from __future__ import annotations

from dataclasses import replace

from archipelag_contracts.ids import JobId, RelayId

from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.lines import Line, LineKey, Standing
from archipelag_coordinator.services.ports import Store
from archipelag_coordinator.testing.builders import a_stored_cargo, an_id
from archipelag_coordinator.testing.check_work import MINUTE, SECOND, Scene
from archipelag_coordinator.testing.fakes import START


class CheckLines:
    async def test_lines_are_counted_whoevers_home_they_are(self, store: Store) -> None:
        scene, other = await Scene.of(store), await Scene.of(store)
        mine = LineKey(scene.user.id, scene.cargo.digest)
        theirs = LineKey(other.user.id, other.cargo.digest)
        await scene.job(created_at=START + MINUTE)
        await scene.job(created_at=START + SECOND, home=RelayId(an_id("rly")))
        await scene.job(status=JobStatus.RUNNING)
        for status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED):
            await scene.job(status=status)
        await other.job(status=JobStatus.RUNNING)

        async with store.begin() as tx:
            lines = await tx.lines.all(10)
            longest = await tx.lines.all(1)

        assert lines == [Line(mine, 2, 1, START + SECOND), Line(theirs, 0, 1)]
        assert longest == lines[:1]

    async def test_before_a_job_are_those_of_its_line_that_are_more_urgent_or_older(
        self, store: Store
    ) -> None:
        scene, stranger = await Scene.of(store), await Scene.of(store)
        elsewhere = for_another_cargo(scene, await a_stored_cargo(store, slug="another"))
        old = await scene.job()
        young = await scene.job(created_at=START + MINUTE)
        urgent = await scene.job(created_at=START + 2 * MINUTE, priority=5)
        lazy = await scene.job(created_at=START - MINUTE, priority=-1)
        running = await scene.job(created_at=START - MINUTE, status=JobStatus.RUNNING)
        await stranger.job(created_at=START - MINUTE)
        await elsewhere.job(created_at=START - MINUTE)

        async with store.begin() as tx:
            found = [await tx.lines.before(job) for job in (urgent, old, young, lazy)]
            standing = await tx.lines.standing([lazy.id, urgent.id, running.id, JobId("none")])

        assert found == [0, 1, 2, 3]
        line = LineKey(scene.user.id, scene.cargo.digest)
        assert standing == sorted(
            [
                Standing(urgent.id, line, 0, urgent.created_at),
                Standing(lazy.id, line, 3, lazy.created_at),
            ],
            key=lambda one: one.job_id,
        )

    async def test_times_that_slots_were_held_are_those_of_the_newest_that_succeeded(
        self, store: Store
    ) -> None:
        scene = await Scene.of(store)
        done = {"status": JobStatus.SUCCEEDED, "started_at": START + SECOND}
        jobs = [await scene.job(ended_at=START + (2 + n) * SECOND, **done) for n in (1, 2, 3)]
        await scene.job(status=JobStatus.FAILED, started_at=START, ended_at=START + MINUTE)
        by_id = sorted(jobs, key=lambda job: job.id)
        expected = [
            (scene.cargo.digest, (job.ended_at - START - SECOND).total_seconds())
            for job in by_id
            if job.ended_at is not None
        ]

        async with store.begin() as tx:
            assert await tx.lines.held_lately(10) == expected
            assert await tx.lines.held_lately(2) == expected[1:]

    async def test_by_when_a_customer_wants_a_job_is_kept(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(due_at=START + MINUTE)

        assert await scene.stored(job) == replace(job, due_at=START + MINUTE)


def for_another_cargo(scene: Scene, cargo: Cargo) -> Scene:
    """The same customer, who asks for another Cargo."""
    return Scene(scene.store, scene.user, scene.key, cargo, scene.island)
