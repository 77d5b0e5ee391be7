"""One Idempotency-Key over a real PostgreSQL: whatever comes in between, at most one of its jobs is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
from archipelag_contracts.ids import JobId, UserId
from archipelag_coordinator.adapters.postgres.jobs import PostgresJobs
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services import submit as submitting
from archipelag_coordinator.services.cancel import leave
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import abandon
from archipelag_coordinator.services.submit import Submitted, submit
from archipelag_coordinator.testing.builders import CREDIT
from archipelag_coordinator.testing.worlds import Scene, a_scene
from archipelag_embedded.fixtures import PATIENCE_S

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def scene(store: PostgresStore) -> Scene:
    scene = await a_scene(store=store)  # type: ignore[arg-type]
    scene.world = replace(scene.world, ids=SystemIds())
    return scene


async def once(scene: Scene) -> Submitted:
    """The request, sent once more under its key; by another Coordinator, as a balancer might."""
    world = replace(scene.another(), ids=SystemIds())
    return await submit(world, scene.submission(idempotency_key="once"))


async def jobs_of(scene: Scene) -> list[Job]:
    async with scene.store.begin() as tx:
        return (await tx.jobs.of_user(scene.user.id, limit=100, offset=0))[0]


async def until_blocked(database: psycopg.Connection) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while database.execute(BLOCKED).fetchone() == (0,):  # noqa: ASYNC110 - it is the server that waits
            await asyncio.sleep(0.01)


@asynccontextmanager
async def uncommitted(scene: Scene, job: Job) -> AsyncIterator[None]:
    """The first request has made its job, and its transaction is open still."""
    async with scene.store.begin() as tx:
        assert await tx.jobs.add(job) is job
        yield


def a_first(scene: Scene) -> Job:
    world, asked = scene.world, scene.submission(idempotency_key="once")
    cargo = world.catalogue.find(asked.workload)
    wanted = submitting.read_input(world, cargo, asked)
    return submitting._job(world, asked, cargo, wanted, world.clock.now())


async def test_the_same_request_many_times_in_one_instant_is_one_job(scene: Scene) -> None:
    made = await asyncio.gather(*(once(scene) for _ in range(20)))

    (job,) = await jobs_of(scene)
    assert {one.job.id for one in made} == {job.id}
    assert sorted(one.fresh for one in made) == [False] * 19 + [True]
    assert await scene.balance() == CREDIT - job.reserved


async def test_a_retry_that_comes_before_the_first_is_committed_waits_and_joins_it(
    scene: Scene, database: psycopg.Connection
) -> None:
    first = a_first(scene)
    async with uncommitted(scene, first):
        retry = asyncio.create_task(once(scene))
        await until_blocked(database)
        assert not retry.done()

    joined = await retry

    assert (joined.job.id, joined.fresh) == (first.id, False)
    assert [job.id for job in await jobs_of(scene)] == [first.id]


async def test_a_retry_whose_first_was_rolled_back_makes_the_job(
    scene: Scene, database: psycopg.Connection
) -> None:
    first = a_first(scene)
    with suppress(ZeroDivisionError):
        async with uncommitted(scene, first):
            retry = asyncio.create_task(once(scene))
            await until_blocked(database)
            raise ZeroDivisionError

    made = await retry

    assert made.fresh
    assert [job.id for job in await jobs_of(scene)] == [made.job.id] != [first.id]
    assert await scene.balance() == CREDIT - made.job.reserved


async def test_a_first_that_fails_while_its_retry_is_asked_costs_nothing_and_is_made_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await scene.submit(idempotency_key="once")
    seen: list[JobId] = []
    real = PostgresJobs.by_idempotency_key

    async def between(self: PostgresJobs, user: UserId, key: str) -> Job | None:
        standing = await real(self, user, key)
        if standing is not None and not seen:
            # After the retry has looked, and before it adds its own: then the key is free.
            seen.append(standing.id)
            await abandon(scene.world, first.id)
            return None
        return standing

    monkeypatch.setattr(PostgresJobs, "by_idempotency_key", between)
    again = await once(scene)

    ended = await scene.job(first.id)
    assert seen == [first.id] and again.fresh
    assert (ended.status, ended.charged, ended.idempotency_key) == (JobStatus.FAILED, 0, None)
    assert len(await jobs_of(scene)) == 2
    assert await scene.balance() == CREDIT - again.job.reserved


async def test_a_first_that_fails_between_the_conflict_and_the_look_is_made_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await scene.submit(idempotency_key="once")
    looks = iter(range(10))
    real = PostgresJobs.by_idempotency_key

    async def between(self: PostgresJobs, user: UserId, key: str) -> Job | None:
        match next(looks):
            case 0:
                return None  # Not there yet, as if both had come at once.
            case 1:
                await abandon(scene.world, first.id)
        return await real(self, user, key)

    monkeypatch.setattr(PostgresJobs, "by_idempotency_key", between)
    again = await once(scene)

    assert again.fresh and again.job.id != first.id
    assert await scene.balance() == CREDIT - again.job.reserved


async def test_one_whose_reader_left_keeps_its_key_and_is_not_made_anew(scene: Scene) -> None:
    await scene.island()
    first = await dispatch(scene.world, (await scene.submit(idempotency_key="once")).id)
    await leave(scene.world, first.id)

    again = await once(scene)

    assert (again.job.id, again.fresh) == (first.id, False)
    assert (again.job.status, again.job.cause) == (JobStatus.CANCELLED, Cause.CANCELLED)
    assert await scene.balance() == CREDIT
