"""Submitting: everything reserved in one transaction, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.units import Ucredits
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.user import Scope
from archipelag_coordinator.errors import (
    BudgetExceeded,
    IdempotencyMismatch,
    InsufficientCredits,
    InvalidInput,
    NotFound,
    NotPermitted,
    TooLarge,
)
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import CREDIT
from archipelag_coordinator.testing.worlds import Scene, a_scene


async def jobs_of(scene: Scene) -> int:
    async with scene.store.begin() as tx:
        return (await tx.jobs.of_user(scene.user.id, limit=100, offset=0))[1]


async def test_the_upper_bound_is_reserved_and_the_job_is_queued() -> None:
    scene = await a_scene()

    done = await submit(scene.world, scene.submission())

    # "hello" is 5 bytes; a message costs up to 16 tokens of the template, the template itself up to 64.
    assert done.job.reserved == 20 * (5 + 16 + 64) + 100 * 8
    assert done.fresh
    assert (await scene.job(done.job.id)).status is JobStatus.QUEUED
    assert await scene.balance() == CREDIT - done.job.reserved
    assert scene.world.answers.get(done.job.id) is not None


async def test_a_model_name_is_as_good_as_a_slug() -> None:
    scene = await a_scene()

    job = await scene.submit(workload="small-model")

    assert job.cargo_slug == "llm-chat"


REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"workload": "nothing-like-it"}, NotFound),
    ({"input": {"messages": []}}, InvalidInput),
    ({"input": {"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}}, InvalidInput),
    ({"priority": 11}, InvalidInput),
    ({"priority": -1}, InvalidInput),
]


@pytest.mark.parametrize(("changes", "error"), REFUSED)
async def test_what_is_refused_changes_nothing(
    changes: dict[str, Any], error: type[Exception]
) -> None:
    scene = await a_scene()

    with pytest.raises(error):
        await scene.submit(**changes)

    assert await jobs_of(scene) == 0
    assert await scene.balance() == CREDIT


async def test_too_little_is_refused_before_anything_is_kept() -> None:
    scene = await a_scene(credit=2_499)

    with pytest.raises(InsufficientCredits) as refused:
        await scene.submit()

    assert (refused.value.required, refused.value.available) == (2_500, 2_499)
    assert await jobs_of(scene) == 0
    assert await scene.balance() == 2_499


async def test_a_keys_own_budget_counts_what_it_reserved() -> None:
    scene = await a_scene()
    async with scene.store.begin() as tx:
        await tx.keys.add(
            limited := replace(
                scene.key,
                id=scene.world.ids.api_key(scene.clock.now()),
                hash=b"h" * 32,
                prefix="ak_limited",
                budget=Ucredits(3_000),
            )
        )
    await scene.submit(key=limited)

    with pytest.raises(BudgetExceeded):
        await scene.submit(key=limited)

    assert await jobs_of(scene) == 1


async def test_a_read_only_key_may_not_submit() -> None:
    scene = await a_scene()
    reader = replace(scene.key, scopes=frozenset({Scope.READ}))

    with pytest.raises(NotPermitted):
        await scene.submit(key=reader)


async def test_the_same_idempotency_key_is_the_same_job_and_one_reservation() -> None:
    scene = await a_scene()

    first = await submit(scene.world, scene.submission(idempotency_key="once"))
    again = await submit(scene.world, scene.submission(idempotency_key="once"))

    assert again.job.id == first.job.id
    assert (first.fresh, again.fresh) == (True, False)
    assert await scene.balance() == CREDIT - first.job.reserved


async def test_another_request_under_the_same_idempotency_key_is_a_conflict() -> None:
    scene = await a_scene()
    await scene.submit(idempotency_key="once")

    with pytest.raises(IdempotencyMismatch):
        await scene.submit(idempotency_key="once", request_hash=b"another")


async def test_after_a_failure_the_same_idempotency_key_asks_anew() -> None:
    scene = await a_scene()
    first = await scene.submit(idempotency_key="once")
    async with scene.store.begin() as tx:
        job = await tx.jobs.lock(first.id)
        assert job is not None
        from archipelag_coordinator.domain.attempt import Cause

        await tx.jobs.save(job.fail(scene.clock.now(), Cause.NO_CAPACITY, "nobody"), was=job)

    again = await submit(scene.world, scene.submission(idempotency_key="once"))

    assert again.fresh
    assert again.job.id != first.id


async def test_a_retry_without_a_key_of_its_own_joins_the_request_that_runs() -> None:
    scene = await a_scene()
    first = await scene.submit()

    retry = await submit(scene.world, scene.submission(retry=True))
    not_a_retry = await submit(scene.world, scene.submission())

    assert retry.job.id == first.id and not retry.fresh
    assert not_a_retry.fresh, (
        "two equal requests are two requests unless the client says it retries"
    )


async def test_a_retry_joins_what_succeeded_but_not_what_failed_or_is_long_ago() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    await track(scene.world, scene.report(job, "a", "b"))

    joined = await submit(scene.world, scene.submission(retry=True))
    scene.clock.advance(scene.world.policy.retry_window_s + 1)
    later = await submit(scene.world, scene.submission(retry=True))

    assert joined.job.id == job.id and not joined.fresh
    assert later.fresh


async def test_a_json_cargo_is_priced_by_bytes_and_its_own_limit() -> None:
    scene = await a_scene(slug="sum", kind="json", model=None)

    job = await scene.submit(workload="sum", input={"numbers": [1, 2]})

    assert job.input == b'{"numbers":[1,2]}'
    assert job.prompt_tokens_max == len(job.input)
    assert job.output_items_max == 2048


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"x": float("nan")}, InvalidInput),
        ({"x": "\ud800"}, InvalidInput),
        ({"x": "y" * 300_000}, TooLarge),
    ],
)
async def test_a_json_input_that_is_not_plain_json_is_refused(
    given: dict[str, Any], error: type[Exception]
) -> None:
    scene = await a_scene(slug="sum", kind="json", model=None, credit=10**12)

    with pytest.raises(error):
        await scene.submit(workload="sum", input=given)
