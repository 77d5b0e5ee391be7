"""Reports, cancelling, failing: who pays what, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.signing import chain
from archipelag_coordinator.apps.loops.table import dispatch_waiting
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import AttemptStatus, Cause
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import FEES, INSURANCE, AccountId, owner_account
from archipelag_coordinator.errors import NotFound, StaleAttempt
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import expire_job, expire_lease, failover
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.track import track
from archipelag_coordinator.testing.builders import CREDIT, an_id
from archipelag_coordinator.testing.worlds import Scene, a_scene

PROMPT, ITEM = 20, 100


async def held(scene: Scene, account: AccountId) -> int:
    async with scene.store.begin() as tx:
        return (await tx.ledger.account(account)).balance


async def books_balance(scene: Scene) -> bool:
    async with scene.store.begin() as tx:
        return await tx.ledger.rebuild() == []


async def a_stream(scene: Scene, *texts: str) -> Job:
    """A job whose Island streamed these items to a reader who got them all."""
    await scene.island()
    job = await scene.running()
    assert scene.stream(job, *texts) is None
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    answer.taken = answer.delivered = len(texts)
    return job


async def test_success_charges_prompt_and_output_once_and_shares_it_out() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hel", "lo")
    insurance = await held(scene, INSURANCE)

    done = await track(scene.world, scene.report(job, "Hel", "lo"))

    charged = 5 * PROMPT + 2 * ITEM
    assert (done.status, done.output, done.charged) == (JobStatus.SUCCEEDED, "Hello", charged)
    assert await scene.balance() == CREDIT - charged
    assert await held(scene, owner_account(scene.owner.id)) == 255
    assert await held(scene, FEES) == 30
    assert await held(scene, INSURANCE) - insurance == 15
    assert await books_balance(scene)
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.final is not None
    assert (answer.final.status, answer.final.charged) == ("succeeded", charged)


async def test_the_same_report_twice_changes_nothing() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hi")
    report = scene.report(job, "Hi")

    first = await track(scene.world, report)
    balance = await scene.balance()
    second = await track(scene.world, report)

    assert first == second
    assert await scene.balance() == balance


async def test_items_lost_on_the_way_are_made_up_from_the_report() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "one ")

    await track(scene.world, scene.report(job, "one ", "two ", "three"))

    answer = scene.world.answers.get(job.id)
    assert answer is not None
    assert "".join(answer.texts) == "one two three" and answer.next == 3


LIES: list[dict[str, Any]] = [
    {"cargo_digest": "sha256:" + "f" * 64},
    {"first_position": 1},
    {"next_position": -1},
    {"next_position": 9, "texts": ("x",) * 9},
    {"next_position": 4},
    {"tokens": (1,)},
    {"output_chain": bytes(32)},
    {"texts": ("Ha", "ha"), "output_chain": chain([("Ha", 0), ("ha", 0)])},
]


@pytest.mark.parametrize("lie", LIES)
async def test_a_report_that_lies_is_not_paid_and_costs_the_customer_nothing(
    lie: dict[str, Any],
) -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hel", "lo")

    ended = await track(scene.world, scene.report(job, "Hel", "lo", **lie))

    assert (ended.status, ended.cause) == (JobStatus.FAILED, Cause.BAD_OUTPUT)
    assert await scene.balance() == CREDIT
    assert await held(scene, owner_account(scene.owner.id)) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"island_id": IslandId(an_id("isl"))},
        {"epoch": Epoch(2)},
        {"job_id": JobId(an_id("job"))},
    ],
)
async def test_a_report_of_somebody_elses_attempt_is_refused(changes: dict[str, Any]) -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hi")

    with pytest.raises(StaleAttempt):
        await track(scene.world, scene.report(job, "Hi", **changes))

    assert (await scene.job(job.id)).status is JobStatus.RUNNING


async def test_a_late_report_from_a_lost_island_is_not_paid() -> None:
    scene = await a_scene(resumable=False)
    job = await a_stream(scene, "Hi")
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    pay = await held(scene, owner_account(scene.owner.id))

    with pytest.raises(StaleAttempt):
        await track(scene.world, scene.report(job, "Hi", "there"))

    assert await held(scene, owner_account(scene.owner.id)) == pay
    assert await scene.balance() == CREDIT


async def test_inflated_meters_are_cut_to_what_was_reserved() -> None:
    from archipelag_coordinator.domain.attempt import Usage

    scene = await a_scene()
    job = await a_stream(scene, "Hi")

    done = await track(
        scene.world, scene.report(job, "Hi", usage=Usage(prompt_tokens=10**9, output_items=1))
    )

    assert done.charged == job.prompt_tokens_max * PROMPT + ITEM <= job.reserved
    assert await scene.balance() == CREDIT - done.charged


async def test_a_dead_cargo_before_anything_was_read_is_tried_elsewhere() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "Half an")

    scene.nudges.clear()
    waiting = await track(scene.world, scene.report(job, cause=Cause.CARGO_DIED))
    nudged = bool(scene.nudges)
    running = await dispatch(scene.world, job.id)

    assert waiting.status is JobStatus.QUEUED
    assert nudged, "the job must not wait for the next turn of a loop"
    async with scene.store.begin() as tx:
        dead = await tx.attempts.get(job.id, Epoch(1))
    assert dead is not None and dead.positions == 0, "what is made anew was not accepted from it"
    assert (running.status, running.epoch) == (JobStatus.RUNNING, 2)
    first, second = scene.bus.assigned
    assert first.island_id != second.island_id
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.texts == [] and answer.epoch == 2
    done = await track(scene.world, scene.report(running, "All"))
    assert done.charged == 5 * PROMPT + ITEM
    assert await held(scene, owner_account(scene.owner.id)) == 170


async def test_a_dead_cargo_after_something_was_read_costs_nothing_and_pays_the_island() -> None:
    scene = await a_scene(resumable=False)
    job = await a_stream(scene, "Half", " an")

    failed = await track(
        scene.world, scene.report(job, "Half", " an", cause=Cause.CARGO_DIED, error="exit 139")
    )

    assert (failed.status, failed.cause) == (JobStatus.FAILED, Cause.CARGO_DIED)
    assert failed.error == "exit 139"
    assert await scene.balance() == CREDIT
    assert await held(scene, owner_account(scene.owner.id)) == 255, "as if it had succeeded"
    assert await books_balance(scene)


async def test_after_three_tries_it_fails() -> None:
    scene = await a_scene()
    for _ in range(5):
        await scene.island()
    job = await scene.running()

    for _ in range(2):
        job = await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
        assert job.status is JobStatus.QUEUED
        job = await dispatch(scene.world, job.id)
    job = await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")

    assert (job.status, job.epoch, job.cause) == (JobStatus.FAILED, 3, Cause.LEASE_LOST)
    assert await scene.balance() == CREDIT


async def test_a_cause_that_would_be_the_same_anywhere_is_not_tried_again() -> None:
    scene = await a_scene()
    await scene.island()
    await scene.island()
    job = await scene.running()

    failed = await track(
        scene.world, scene.report(job, cause=Cause.BAD_INPUT, error="the prompt is too long")
    )

    assert (failed.status, failed.error) == (JobStatus.FAILED, "the prompt is too long")
    assert len(scene.bus.assigned) == 1


async def test_an_island_that_says_cancelled_of_its_own_accord_has_stopped() -> None:
    scene = await a_scene()
    job = await a_stream(scene)

    waiting = await track(scene.world, scene.report(job, cause=Cause.CANCELLED))

    assert waiting.status is JobStatus.QUEUED
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(job.id, job.epoch)
    assert attempt is not None and attempt.cause is Cause.ISLAND_STOPPED


async def test_an_island_that_was_killed_and_forgot_what_it_said_is_paid_for_it_and_not_blamed() -> (
    None
):
    scene = await a_scene()
    job = await a_stream(scene, "a", "b")

    ended = await track(scene.world, scene.report(job, cause=Cause.ISLAND_STOPPED))

    assert (ended.status, ended.cause) == (JobStatus.FAILED, Cause.ISLAND_STOPPED)
    assert await scene.balance() == CREDIT
    assert await held(scene, owner_account(scene.owner.id)) == 255


async def test_an_answer_too_long_for_a_report_is_proven_by_its_chain() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hel", "lo")
    report = scene.report(job, "Hel", "lo")

    done = await track(scene.world, replace(report, texts=()))

    assert (done.status, done.output) == (JobStatus.SUCCEEDED, "Hello")


async def test_an_answer_that_a_report_neither_shows_nor_proves_is_not_paid() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hel", "lo")
    report = scene.report(job, "Hel", "xx")

    ended = await track(scene.world, replace(report, texts=()))

    assert ended.cause is Cause.BAD_OUTPUT


async def test_other_items_than_were_streamed_are_a_lie_however_the_attempt_ended() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "a", "b")

    ended = await track(scene.world, scene.report(job, "x", cause=Cause.CARGO_FAILED))

    assert ended.cause is Cause.BAD_OUTPUT
    assert await held(scene, owner_account(scene.owner.id)) == 0


async def test_cancelling_charges_what_was_delivered_until_now() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "one ", "two ", "three ")
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    answer.delivered = 2

    done = await cancel(scene.world, scene.user.id, job.id)

    charged = 5 * PROMPT + 2 * ITEM
    assert (done.status, done.charged, done.output) == (JobStatus.CANCELLED, charged, "one two ")
    assert await scene.balance() == CREDIT - charged
    island = scene.bus.assigned[0].island_id
    assert scene.bus.cancelled == [(island, job.id, 1, "cancelled by the customer")]
    with pytest.raises(StaleAttempt):
        await track(scene.world, scene.report(job, "one ", "two ", "three "))


async def test_cancelling_a_job_that_nobody_waits_for_charges_what_can_be_read_at_output() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running(interactive=False)
    scene.stream(job, "a", "b")

    done = await cancel(scene.world, scene.user.id, job.id)

    assert (done.output, done.charged) == ("ab", 5 * PROMPT + 2 * ITEM)


async def test_cancelling_before_anything_came_is_free_and_twice_is_once() -> None:
    scene = await a_scene()
    queued = await scene.submit()

    first = await cancel(scene.world, scene.user.id, queued.id)
    second = await cancel(scene.world, scene.user.id, queued.id)

    assert first == second
    assert first.charged == 0 and await scene.balance() == CREDIT
    assert scene.bus.cancelled == []


async def test_nobody_cancels_somebody_elses_job() -> None:
    scene = await a_scene()
    job = await scene.submit()

    with pytest.raises(NotFound):
        await cancel(scene.world, scene.owner.id, job.id)

    assert (await scene.job(job.id)).status is JobStatus.QUEUED


async def test_a_lease_that_was_extended_is_not_broken() -> None:
    scene = await a_scene()
    job = await a_stream(scene)

    early = await expire_lease(scene.world, job.id, job.epoch)
    scene.clock.advance(61)
    late = await expire_lease(scene.world, job.id, job.epoch)

    assert early is None
    assert late is not None and late.status is JobStatus.QUEUED
    assert await expire_lease(scene.world, job.id, job.epoch) is None
    assert scene.bus.cancelled, "the Island is told to stop"


async def test_nobody_took_it_in_time_fails_with_the_reasons() -> None:
    scene = await a_scene()
    await scene.island(name="deaf", offers=())
    job = await scene.running()

    assert await expire_job(scene.world, job.id) is None
    scene.clock.advance(31)
    failed = await expire_job(scene.world, job.id)

    assert failed is not None
    assert (failed.status, failed.cause) == (JobStatus.FAILED, Cause.NO_CAPACITY)
    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.final is not None
    assert answer.final.reasons == ("deaf does not offer llm-chat",)
    assert await scene.balance() == CREDIT
    assert await expire_job(scene.world, job.id) is None


async def test_a_job_past_its_deadline_is_ended_wherever_it_runs() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "still")
    scene.clock.advance(331)

    failed = await expire_job(scene.world, job.id)

    assert failed is not None and failed.cause is Cause.DEADLINE
    async with scene.store.begin() as tx:
        attempt = await tx.attempts.get(job.id, job.epoch)
    assert attempt is not None and attempt.status is AttemptStatus.FAILED
    assert await scene.balance() == CREDIT


async def test_failover_of_an_old_epoch_or_an_unknown_job_is_stale() -> None:
    scene = await a_scene()
    job = await a_stream(scene)

    for job_id, epoch in [(job.id, Epoch(2)), (JobId(an_id("job")), Epoch(1))]:
        with pytest.raises(StaleAttempt):
            await failover(scene.world, job_id, epoch, Cause.LEASE_LOST, "silent")


async def test_another_coordinator_settled_it_and_readers_here_are_told() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "one ")
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    scene.world.answers.drop(job.id)
    await track(scene.world, scene.report(job, "one ", "two"))
    scene.world.answers._by_job[job.id] = answer

    await settled(scene.world, job.id)
    await settled(scene.world, JobId(an_id("job")))

    assert answer.final is not None and "".join(answer.texts) == "one two"
    assert scene.relay.open_for == {}


async def test_whoever_settles_a_job_is_its_home_from_then_on() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running(interactive=False)
    scene.stream(job, "old ")
    other = scene.another()

    again = await track(other, scene.report(job, "old ", cause=Cause.CARGO_DIED))

    assert (again.status, again.home) == (JobStatus.QUEUED, other.home)
    assert scene.bus.told_ended == [(scene.world.home, job.id)]
    # Even if that word had been lost.
    waits = await dispatch(scene.world, job.id)
    assert waits.status is JobStatus.QUEUED
    await dispatch_waiting(other)
    begun = other.answers.get(job.id)
    assert begun is not None and (begun.texts, begun.epoch) == ([], 2)


async def test_only_its_home_calls_an_attempt_lost() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hi")

    with pytest.raises(StaleAttempt):
        await failover(scene.another(), job.id, Epoch(1), Cause.LEASE_LOST, "silent")

    assert (await scene.job(job.id)).status is JobStatus.RUNNING


async def test_settled_says_nothing_of_a_job_that_still_runs() -> None:
    scene = await a_scene()
    job = await a_stream(scene)

    await settled(scene.world, job.id)

    answer = scene.world.answers.get(job.id)
    assert answer is not None and answer.final is None


async def test_the_home_of_a_job_is_told_when_another_process_settles_it() -> None:
    scene = await a_scene()
    job = await a_stream(scene, "Hi")
    other = replace(scene.world, home=RelayId(an_id("rly")), answers=Answers())

    await track(other, scene.report(job, "Hi"))

    assert scene.bus.told_ended == [(scene.world.home, job.id)]
