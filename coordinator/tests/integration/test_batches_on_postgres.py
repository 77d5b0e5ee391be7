"""Batches over a real PostgreSQL: many Coordinators at once, credit that runs out, and what the planner makes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest
from archipelag_coordinator.adapters.postgres.batches import TO_WORK_ON
from archipelag_coordinator.adapters.postgres.store import PostgresStore
from archipelag_coordinator.apps.loops.batches import work_on_batch, work_on_batches
from archipelag_coordinator.domain.batch import BatchStatus
from archipelag_coordinator.domain.ledger import user_account
from archipelag_coordinator.ids import SystemIds
from archipelag_coordinator.services.batch import (
    BatchView,
    BatchWanted,
    cancel_batch,
    read_batch,
    submit_batch,
)
from archipelag_coordinator.testing.builders import CREDIT
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def scene_on(store: PostgresStore, credit: int = CREDIT) -> Scene:
    scene = await a_scene(store=store, credit=credit)  # type: ignore[arg-type]
    scene.world = replace(scene.world, ids=SystemIds())
    return scene


async def a_batch(scene: Scene, count: int, **changes: object) -> BatchView:
    inputs = [{"prompt": f"number {number}", "max_tokens": 8} for number in range(count)]
    wanted = BatchWanted(scene.user, scene.key, scene.cargo.slug, inputs)
    return await submit_batch(scene.world, replace(wanted, **changes))  # type: ignore[arg-type]


async def jobs_of(scene: Scene) -> int:
    async with scene.store.begin() as tx:
        return (await tx.jobs.of_user(scene.user.id, limit=1, offset=0))[1]


async def test_many_coordinators_at_once_submit_each_input_once_and_never_too_many(
    store: PostgresStore,
) -> None:
    scene = await scene_on(store)
    worlds = [scene.world, *(replace(scene.another(), ids=SystemIds()) for _ in range(5))]
    view = await a_batch(scene, 40, max_parallelism=12)

    for _ in range(3):
        await asyncio.gather(*(work_on_batch(world, view.batch.id) for world in worlds))

    now = await read_batch(scene.world, scene.user.id, view.batch.id)
    assert await jobs_of(scene) == 12
    assert [member.number for member in now.members if member.job] == [*range(12)]


async def test_cancelling_while_others_submit_leaves_nothing_behind(store: PostgresStore) -> None:
    scene = await scene_on(store)
    other = replace(scene.another(), ids=SystemIds())
    views = [await a_batch(scene, 8) for _ in range(10)]

    async def cancel(view: BatchView) -> None:
        await cancel_batch(scene.world, scene.user.id, view.batch.id)

    for view in views:
        await asyncio.gather(
            work_on_batch(scene.world, view.batch.id),
            cancel(view),
            work_on_batch(other, view.batch.id),
        )
    for _ in range(3):
        await work_on_batches(scene.world)

    for view in views:
        ended = await read_batch(scene.world, scene.user.id, view.batch.id)
        assert ended.batch.status is BatchStatus.CANCELLED
        assert not any(member.waiting or member.busy for member in ended.members)
    async with store.begin() as tx:
        account = await tx.ledger.account(user_account(scene.user.id))
    assert (account.balance, account.held) == (CREDIT, 0)


async def test_the_database_itself_submits_no_member_twice(
    store: PostgresStore, database: psycopg.Connection
) -> None:
    scene = await scene_on(store)
    view = await a_batch(scene, 1)
    await work_on_batches(scene.world)

    for status in ("waiting", "failed", "submitted"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            database.execute(
                "UPDATE batch_members SET status = %s WHERE batch_id = %s", [status, view.batch.id]
            )


async def test_batches_to_work_on_are_found_by_an_index(
    store: PostgresStore, database: psycopg.Connection
) -> None:
    scene = await scene_on(store)
    await a_batch(scene, 5)
    database.execute(
        "INSERT INTO batches SELECT 'bat_' || n, user_id, key_id, cargo_id, workload, 1, merge, fail_mode, 1, 0, "
        "created_at, 'completed', now(), '', NULL, '' FROM batches, generate_series(1, 100000) AS n"
    )
    database.execute("ANALYZE batches, batch_members, jobs")

    plan = database.execute("EXPLAIN " + TO_WORK_ON.replace("%(limit)s", "100")).fetchall()

    told = "\n".join(row[0] for row in plan)
    assert "batches_unfinished" in told and "Seq Scan on batches" not in told, told
