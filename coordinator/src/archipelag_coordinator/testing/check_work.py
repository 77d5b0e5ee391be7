"""What every store must do with jobs and attempts; part of `CheckStore`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, IslandId, JobId, Position, RelayId
from archipelag_contracts.units import Ucredits

from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus, Cause, Usage
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job, JobFilter, JobStatus
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import Conflict, StaleAttempt
from archipelag_coordinator.services.ports import Mark, Standing, Store
from archipelag_coordinator.testing.builders import (
    HOME,
    a_customer,
    a_job,
    a_stored_cargo,
    a_stored_island,
    a_user,
    an_attempt,
    an_id,
    an_island,
)
from archipelag_coordinator.testing.fakes import START

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Scene:
    """A customer, a Cargo and an Island that stand, and stored jobs of theirs."""

    def __init__(self, store: Store, user: User, key: ApiKey, cargo: Cargo, island: Island) -> None:
        self.store, self.user, self.key, self.cargo, self.island = store, user, key, cargo, island

    @classmethod
    async def of(cls, store: Store) -> Scene:
        user, key, _ = await a_customer(store)
        cargo = await a_stored_cargo(store)
        return cls(store, user, key, cargo, await a_stored_island(store, user, cargo=cargo))

    async def job(self, **changes: object) -> Job:
        job = a_job(self.user, key=self.key, cargo=self.cargo, **changes)
        async with self.store.begin() as tx:
            assert await tx.jobs.add(job) == job
        return job

    async def attempt(self, **changes: object) -> tuple[Job, Attempt]:
        """A running job with an attempt."""
        job = await self.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        attempt = an_attempt(job, self.island, **changes)
        async with self.store.begin() as tx:
            await tx.attempts.add(attempt)
        return job, attempt

    async def stored(self, job: Job) -> Job:
        async with self.store.begin() as tx:
            found = await tx.jobs.get(job.id)
        assert found is not None
        return found


class CheckJobs:
    async def test_job_is_found_as_it_was_stored(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(
            status=JobStatus.SUCCEEDED,
            epoch=Epoch(2),
            started_at=START,
            output='nul \0, "quotes", 🏝',
            finish_reason="stop",
            cause=Cause.COMPLETED,
            charged=Ucredits(5),
            waiting_for=("no Island", "another"),
            request_hash=b"\x01\x02",
            idempotency_key="key",
        )

        async with store.begin() as tx:
            assert await tx.jobs.get(job.id) == job
            assert await tx.jobs.lock(job.id) == job
            assert await tx.jobs.get(JobId(an_id("job"))) is None

    async def test_job_of_nobody_is_refused(self, store: Store) -> None:
        scene = await Scene.of(store)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.jobs.add(a_job(a_user(), cargo=scene.cargo))

    async def test_same_idempotency_key_joins_the_first_job(self, store: Store) -> None:
        scene = await Scene.of(store)
        other, _, _ = await a_customer(store)
        first = await scene.job(idempotency_key="k")

        async with store.begin() as tx:
            joined = await tx.jobs.add(
                a_job(scene.user, key=scene.key, cargo=scene.cargo, idempotency_key="k")
            )
            mine = await tx.jobs.by_idempotency_key(scene.user.id, "k")
            theirs = await tx.jobs.by_idempotency_key(other.id, "k")
            others = await tx.jobs.add(a_job(other, cargo=scene.cargo, idempotency_key="k"))

        assert joined == mine == first
        assert theirs is None
        assert others.user_id == other.id

    async def test_same_idempotency_key_at_once_makes_one_job(self, store: Store) -> None:
        scene = await Scene.of(store)

        async def add() -> JobId:
            job = a_job(scene.user, key=scene.key, cargo=scene.cargo, idempotency_key="k")
            async with store.begin() as tx:
                return (await tx.jobs.add(job)).id

        assert len(set(await asyncio.gather(*(add() for _ in range(10))))) == 1

    async def test_where_some_jobs_stand_is_told_at_once(self, store: Store) -> None:
        scene = await Scene.of(store)
        runs, ended, other = [await scene.job() for _ in range(3)]
        async with store.begin() as tx:
            for job in (ended, other):
                await tx.jobs.save(job.fail(START, Cause.NO_CAPACITY, "nobody"), was=job)

            found = await tx.jobs.standing([ended.id, runs.id, JobId(an_id("job"))])

            assert found == [
                Standing(runs.id, False, runs.epoch, HOME),
                Standing(ended.id, True, ended.epoch, HOME),
            ]
            assert await tx.jobs.standing([]) == []

    async def test_failed_job_gives_its_idempotency_key_up(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(idempotency_key="k")
        failed = job.fail(START, Cause.NO_CAPACITY, "nobody")
        async with store.begin() as tx:
            await tx.jobs.save(failed, was=job)

        again = await scene.job(idempotency_key="k")

        assert again.id != job.id
        assert await scene.stored(job) == failed

    async def test_same_request_is_the_newest_of_that_key(self, store: Store) -> None:
        scene = await Scene.of(store)
        await scene.job(request_hash=b"h")
        newest = await scene.job(request_hash=b"h", created_at=START + SECOND)
        await scene.job(request_hash=b"other", created_at=START + MINUTE)
        user, key = scene.user.id, scene.key.id

        async with store.begin() as tx:
            assert await tx.jobs.same_request(user, key, b"h", START - SECOND) == newest
            assert await tx.jobs.same_request(user, key, b"h", START + SECOND) is None
            assert await tx.jobs.same_request(a_user().id, key, b"h", START - SECOND) is None

    async def test_saving_is_guarded_by_epoch_and_status(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()
        started = job.start(START)
        async with store.begin() as tx:
            await tx.jobs.save(started, was=job)

        for stale in (job, replace(started, epoch=Epoch(2))):
            with pytest.raises(StaleAttempt):
                async with store.begin() as tx:
                    await tx.jobs.save(replace(started, error="late"), was=stale)

        assert await scene.stored(job) == started

    async def test_of_two_who_save_at_once_one_is_stale(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()

        async def start() -> bool:
            try:
                async with store.begin() as tx:
                    await tx.jobs.save(job.start(START), was=job)
            except StaleAttempt:
                return False
            return True

        assert sorted(await asyncio.gather(start(), start())) == [False, True]

    async def test_locked_job_is_not_changed_by_others(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()
        order: list[str] = []
        locked = asyncio.Event()

        async def first() -> None:
            async with store.begin() as tx:
                found = await tx.jobs.lock(job.id)
                assert found == job
                locked.set()
                for _ in range(20):  # others get their turns and must not use them
                    await asyncio.sleep(0)
                order.append("first")
                await tx.jobs.save(job.start(START), was=job)

        async def second() -> None:
            await locked.wait()
            async with store.begin() as tx:
                found = await tx.jobs.lock(job.id)
            order.append("second")
            assert found is not None and found.status is JobStatus.RUNNING

        await asyncio.gather(first(), second())

        assert order == ["first", "second"]

    async def test_jobs_are_listed_newest_first_in_pages(self, store: Store) -> None:
        scene = await Scene.of(store)
        jobs = [await scene.job(created_at=START + i * SECOND) for i in range(3)]
        cancelled = jobs[0].cancel(
            START, reason="", delivered=0, prompt_tokens=0, texts=(), charged=Ucredits(0)
        )
        async with store.begin() as tx:
            await tx.jobs.save(cancelled, was=jobs[0])

        async with store.begin() as tx:
            user = scene.user.id
            page = await tx.jobs.of_user(user, limit=2, offset=0)
            rest = await tx.jobs.of_user(user, limit=2, offset=2)
            only = JobFilter(frozenset({JobStatus.CANCELLED}))
            some = await tx.jobs.of_user(user, limit=9, offset=0, only=only)
            none = await tx.jobs.of_user(a_user().id, limit=9, offset=0)

        assert page == ([jobs[2], jobs[1]], 3)
        assert rest == ([cancelled], 3)
        assert some == ([cancelled], 1)
        assert none == ([], 0)

    async def test_outputs_are_left_where_nobody_asks_for_them(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job(
            status=JobStatus.SUCCEEDED, ended_at=START, output="said \0 much", cuts=b"\x0b"
        )

        async with store.begin() as tx:
            whole = await tx.jobs.get(job.id)
            light = await tx.jobs.get(job.id, outputs=False)
            listed = await tx.jobs.of_user(scene.user.id, limit=9, offset=0, outputs=False)
            nobody = await tx.jobs.get(JobId(an_id("job")), outputs=False)

        assert whole == job
        assert light == replace(job, output=None, cuts=b"")
        assert listed == ([light], 1)
        assert nobody is None

    async def test_overdue_are_past_deadline_or_too_long_queued(self, store: Store) -> None:
        scene = await Scene.of(store)
        fresh = {"queue_until": START + MINUTE, "deadline_at": START + 2 * MINUTE}
        late = {"queue_until": START, "deadline_at": START + MINUTE}
        over = {"queue_until": START - MINUTE, "deadline_at": START}
        queued = await scene.job(**late)
        running = await scene.job(status=JobStatus.RUNNING, **over)
        await scene.job(status=JobStatus.RUNNING, **late)
        await scene.job(status=JobStatus.FAILED, **over)
        await scene.job(**fresh)

        async with store.begin() as tx:
            assert await tx.jobs.overdue(HOME, START, 10) == [running.id, queued.id]
            assert await tx.jobs.overdue(HOME, START, 1) == [running.id]
            assert await tx.jobs.overdue(HOME, START - SECOND, 10) == []
            assert await tx.jobs.overdue(RelayId(an_id("rly")), START, 10) == []

    async def test_marks_of_unfinished_jobs_only_go_up(self, store: Store) -> None:
        scene = await Scene.of(store)
        running = await scene.job(status=JobStatus.RUNNING, epoch=Epoch(1))
        ended = await scene.job(status=JobStatus.CANCELLED)

        async with store.begin() as tx:
            for position, tokens, at in ((5, 9, START), (3, 7, None), (4, 8, START - SECOND)):
                jobs = (running, ended)
                marks = [Mark(job.id, Position(position), tokens, at) for job in jobs]
                await tx.jobs.mark_delivered(marks)
            await tx.jobs.mark_delivered([])
            await tx.jobs.save(replace(running, error="noted"), was=running)

        marked = await scene.stored(running)
        assert (marked.delivered, marked.read_at) == (5, START)
        assert await scene.stored(ended) == ended

    async def test_completed_are_counted(self, store: Store) -> None:
        scene = await Scene.of(store)
        await scene.job(status=JobStatus.SUCCEEDED)
        await scene.job(status=JobStatus.FAILED)

        async with store.begin() as tx:
            assert await tx.jobs.count_completed() == 1


class CheckAttempts:
    async def test_attempt_is_found_as_it_was_stored(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, attempt = await scene.attempt()
        ended = attempt.fail(
            START, Cause.CARGO_DIED, "died", Position(2), Usage(1, 2, 3, 2**40, 5), b"report"
        )

        async with store.begin() as tx:
            assert await tx.attempts.get(job.id, Epoch(1)) == attempt
            await tx.attempts.save(ended, was=attempt)

        async with store.begin() as tx:
            assert await tx.attempts.get(job.id, Epoch(1)) == ended
            assert await tx.attempts.get(job.id, Epoch(2)) is None

    async def test_attempt_of_unknown_job_or_island_is_refused(self, store: Store) -> None:
        scene = await Scene.of(store)
        job = await scene.job()
        for attempt in (
            an_attempt(a_job(scene.user), scene.island),
            an_attempt(job, an_island(scene.user)),
        ):
            with pytest.raises(Conflict):
                async with store.begin() as tx:
                    await tx.attempts.add(attempt)

    async def test_job_has_one_unfinished_attempt_at_most(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, attempt = await scene.attempt()
        second = an_attempt(replace(job, epoch=Epoch(2)), scene.island)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.attempts.add(second)
        lost = attempt.lose(START, "silent", Position(0))
        async with store.begin() as tx:
            await tx.attempts.save(lost, was=attempt)
            await tx.attempts.add(second)
            assert await tx.attempts.of_job(job.id) == [lost, second]

    async def test_same_epoch_twice_is_refused(self, store: Store) -> None:
        scene = await Scene.of(store)
        _, attempt = await scene.attempt(status=AttemptStatus.LOST)

        with pytest.raises(Conflict):
            async with store.begin() as tx:
                await tx.attempts.add(attempt)

    async def test_of_two_who_end_it_one_is_stale(self, store: Store) -> None:
        scene = await Scene.of(store)
        _, attempt = await scene.attempt()
        succeeded = attempt.succeed(START, Usage(), Position(3), b"report")
        lost = attempt.lose(START, "late", Position(0))

        async def end(ended: Attempt) -> bool:
            try:
                async with store.begin() as tx:
                    await tx.attempts.save(ended, was=attempt)
            except StaleAttempt:
                return False
            return True

        assert sorted(await asyncio.gather(end(succeeded), end(lost))) == [False, True]

    async def test_heartbeat_in_between_does_not_make_an_ending_stale(self, store: Store) -> None:
        scene = await Scene.of(store)
        job, attempt = await scene.attempt()
        async with store.begin() as tx:
            await tx.attempts.extend(
                scene.island.id, [(job.id, Epoch(1))], START + SECOND, START + 2 * MINUTE
            )

        async with store.begin() as tx:
            succeeded = attempt.succeed(START + MINUTE, Usage(), Position(3), b"report")
            await tx.attempts.save(succeeded, was=attempt)
            found = await tx.attempts.get(job.id, Epoch(1))

        assert found == replace(succeeded, started_at=START + SECOND)

    async def test_only_standing_attempts_of_that_island_are_extended(self, store: Store) -> None:
        scene = await Scene.of(store)
        other = await a_stored_island(store, scene.user)
        mine, attempt = await scene.attempt()
        ended, _ = await scene.attempt(status=AttemptStatus.FAILED)
        theirs, _ = await scene.attempt(island_id=other.id)
        held = [(job.id, Epoch(1)) for job in (mine, ended, theirs)] + [(mine.id, Epoch(2))]

        async with store.begin() as tx:
            kept = await tx.attempts.extend(scene.island.id, held, START, START + 5 * MINUTE)
            none = await tx.attempts.extend(scene.island.id, [], START, START + 5 * MINUTE)
            found = await tx.attempts.get(mine.id, Epoch(1))

        assert kept == {(mine.id, Epoch(1))}
        assert none == set()
        assert found == attempt.extend(START, 300)

    async def test_finished_are_those_ended_or_never_had(self, store: Store) -> None:
        scene = await Scene.of(store)
        runs, _ = await scene.attempt()
        ended, _ = await scene.attempt(status=AttemptStatus.SUCCEEDED)
        keys = [(runs.id, Epoch(1)), (ended.id, Epoch(1)), (runs.id, Epoch(7))]

        async with store.begin() as tx:
            finished = await tx.attempts.finished(scene.island.id, keys)
            unfinished = await tx.attempts.unfinished_of(scene.island.id)

        assert finished == set(keys[1:])
        assert unfinished == keys[:1]

    async def test_expired_are_unfinished_past_their_lease_oldest_first(self, store: Store) -> None:
        scene = await Scene.of(store)
        later, _ = await scene.attempt(lease_until=START + SECOND)
        older, _ = await scene.attempt(lease_until=START)
        await scene.attempt(lease_until=START + MINUTE)
        await scene.attempt(lease_until=START, status=AttemptStatus.LOST)

        async with store.begin() as tx:
            found = await tx.attempts.expired(HOME, START + SECOND, 10)
            first = await tx.attempts.expired(HOME, START + SECOND, 1)
            others = await tx.attempts.expired(RelayId(an_id("rly")), START + SECOND, 10)

        assert found == [(older.id, Epoch(1)), (later.id, Epoch(1))]
        assert (first, others) == (found[:1], [])

    async def test_broken_leases_have_run_out_for_that_island_alone(self, store: Store) -> None:
        scene = await Scene.of(store)
        held, _ = await scene.attempt(lease_until=START + MINUTE)
        early, _ = await scene.attempt(lease_until=START - SECOND)
        async with store.begin() as tx:
            await tx.attempts.break_leases(IslandId(an_id("isl")), START)
            untouched = await tx.attempts.expired(HOME, START, 10)
            await tx.attempts.break_leases(scene.island.id, START)

            found = await tx.attempts.expired(HOME, START, 10)

        assert untouched == [(early.id, Epoch(1))]
        assert found == [(early.id, Epoch(1)), (held.id, Epoch(1))]
