"""Waits at the door: who would wait too long is told so before anything is stored, and is served on coming back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_coordinator.apps.api.asking import make_job
from archipelag_coordinator.apps.loops.batches import work_on_batch
from archipelag_coordinator.apps.loops.table import end_overdue
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.forecast import Forecast
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.errors import InvalidInput, Overloaded
from archipelag_coordinator.services.batch import BatchWanted, read_batch, submit_batch
from archipelag_coordinator.services.cancel import cancel_here
from archipelag_coordinator.services.dispatch import dispatch, dispatch_in_turn
from archipelag_coordinator.services.expect import IN_LINE, WITHIN, read_lines
from archipelag_coordinator.services.failover import TOO_LATE
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing import builders
from archipelag_coordinator.testing.fakes import START
from archipelag_coordinator.testing.worlds import Scene, a_scene

HELD_S = 10.0


async def overloaded(*, slots: int = 2, waiting: int = 3, policy: Policy | None = None) -> Scene:
    """All slots of the one Island are held, as long as jobs usually hold them, and somebody's jobs wait."""
    scene = await a_scene(policy=policy)
    await scene.island(slots=slots, offers=(builders.an_offer(scene.cargo, slots=slots),))
    scene.world.forecast.slot_times.learn(scene.cargo.digest, HELD_S)
    for n in range(slots + waiting):
        before = scene.submission(request_hash=b"before %d" % n, interactive=False)
        await make_job(scene.world, before)
    return scene


async def another_customer(scene: Scene) -> tuple[User, ApiKey]:
    user, key, _ = await builders.a_customer(scene.store)
    return user, key


async def reserved(scene: Scene) -> tuple[int, int]:
    """What may be spent, and how many jobs stand."""
    async with scene.store.begin() as tx:
        _, jobs = await tx.jobs.of_user(scene.user.id, limit=1, offset=0)
    return await scene.balance(), jobs


async def test_who_would_wait_too_long_is_refused_before_anything_is_stored() -> None:
    scene = await overloaded(waiting=4)
    before = await reserved(scene)

    with pytest.raises(Overloaded) as refused:
        await make_job(scene.world, scene.submission(request_hash=b"too many"))

    assert await reserved(scene) == before
    # Two of them end every ten seconds.
    assert (refused.value.ahead, refused.value.wait_s) == (4, 25.0)
    assert len(scene.world.answers) == 6
    assert scene.world.forecast.kept.told.total() == 1


async def test_who_would_wait_less_is_taken() -> None:
    scene = await overloaded(waiting=3)

    made = await make_job(scene.world, scene.submission(request_hash=b"one more"))

    assert made.job.status is JobStatus.QUEUED


async def test_of_what_nothing_is_known_nobody_is_refused() -> None:
    scene = await overloaded(waiting=0)
    scene.world = replace(scene.world, forecast=Forecast())
    await read_lines(scene.world)

    made = [await make_job(scene.world, scene.submission(request_hash=b"%d" % n)) for n in range(9)]

    assert {one.job.status for one in made} == {JobStatus.QUEUED}


async def test_a_new_process_knows_from_the_database_what_the_old_one_knew() -> None:
    scene = await overloaded(waiting=4)
    done = builders.a_job(
        scene.user,
        cargo=scene.cargo,
        status=JobStatus.SUCCEEDED,
        started_at=START,
        ended_at=START + timedelta(seconds=HELD_S),
    )
    async with scene.store.begin() as tx:
        await tx.jobs.add(done)
    scene.world = replace(scene.another(), forecast=Forecast())
    await read_lines(scene.world)

    with pytest.raises(Overloaded) as refused:
        await make_job(scene.world, scene.submission(request_hash=b"at the other one"))

    assert (refused.value.ahead, refused.value.wait_s) == (4, 25.0)


async def test_ten_thousand_jobs_of_one_account_are_one_turn_for_another() -> None:
    scene = await overloaded(waiting=3)
    forecast = scene.world.forecast
    (line,) = forecast.lines
    forecast.lines.load([replace(line, queued=10_000)])
    user, key = await another_customer(scene)

    made = await make_job(scene.world, scene.submission(user=user, key=key))

    assert made.job.status is JobStatus.QUEUED
    with pytest.raises(Overloaded) as refused:
        await make_job(scene.world, scene.submission(request_hash=b"and another"))
    assert refused.value.wait_s == pytest.approx(10_002 * HELD_S / 2, rel=1e-3)


async def test_who_comes_back_in_time_is_served_before_who_comes_now() -> None:
    scene = await overloaded(slots=1, waiting=2)
    back = scene.submission(request_hash=b"back")
    with pytest.raises(Overloaded) as refused:
        await make_job(scene.world, back)
    scene.clock.advance(refused.value.retry_after_s)
    (line,) = scene.world.forecast.lines
    scene.world.forecast.lines.load([replace(line, queued=1)])

    with pytest.raises(Overloaded):
        await make_job(scene.world, scene.submission(request_hash=b"fresh"))
    made = await make_job(scene.world, back)

    assert made.job.status is JobStatus.QUEUED
    assert scene.world.forecast.kept.told.total() == 1, "the fresh one's, who was told a time"


async def test_asking_too_early_is_told_the_same_time_and_keeps_one_place() -> None:
    scene = await overloaded(waiting=20)
    again = scene.submission(request_hash=b"impatient")
    told = []
    for _ in range(5):
        with pytest.raises(Overloaded) as refused:
            await make_job(scene.world, again)
        told.append(scene.clock.monotonic() + refused.value.retry_after_s)
        scene.clock.advance(1.0)

    assert max(told) - min(told) < 1e-6
    assert scene.world.forecast.kept.told.total() == 1


async def test_refused_callers_are_told_different_times() -> None:
    scene = await overloaded(waiting=10)
    times = []
    for n in range(6):
        with pytest.raises(Overloaded) as refused:
            await make_job(scene.world, scene.submission(request_hash=b"%d" % n))
        times.append(refused.value.retry_after_s)

    assert times == sorted(times) and len(set(times)) == 6
    assert times[-1] - times[0] > 4 * HELD_S / 2


async def test_a_request_that_stands_is_joined_however_long_the_line() -> None:
    scene = await overloaded(waiting=0)
    same = scene.submission(request_hash=b"same", idempotency_key="same")
    first = await make_job(scene.world, same)
    (line,) = scene.world.forecast.lines
    scene.world.forecast.lines.load([replace(line, queued=500)])

    again = await make_job(scene.world, same)

    assert again.job.id == first.job.id and not again.fresh


async def test_members_of_a_batch_wait_for_their_turn() -> None:
    scene = await overloaded(waiting=0)
    (line,) = scene.world.forecast.lines
    scene.world.forecast.lines.load([replace(line, queued=500)])
    inputs = [scene.submission().input] * 2
    wanted = BatchWanted(scene.user, scene.key, scene.cargo.slug, inputs)
    batch = (await submit_batch(scene.world, wanted)).batch

    await work_on_batch(scene.world, batch.id)

    members = (await read_batch(scene.world, scene.user.id, batch.id)).members
    assert [member.job is not None for member in members] == [True, True]


async def test_a_free_slot_is_for_whoever_has_the_turn() -> None:
    scene = await overloaded(slots=1, waiting=1)
    user, key = await another_customer(scene)
    running = next(one.job_id for one in scene.bus.assigned)
    await cancel_here(scene.world, running, "no more")
    scene.nudges.clear()

    made = await make_job(scene.world, scene.submission(user=user, key=key))

    assert made.job.status is JobStatus.QUEUED and made.job.waiting_for == (IN_LINE,)
    assert len(scene.bus.assigned) == 1 and scene.nudges, "the line is told to move at once"


async def test_who_was_put_in_line_behind_others_is_not_tried_before_them() -> None:
    scene = await overloaded(slots=1, waiting=0)
    first = await scene.submit(request_hash=b"first")
    second = await scene.submit(request_hash=b"second")
    await cancel_here(scene.world, scene.bus.assigned[0].job_id, "room")
    scene.nudges.clear()

    behind = await dispatch_in_turn(scene.world, second)
    ahead = await dispatch_in_turn(scene.world, first)

    assert behind.status is JobStatus.QUEUED and scene.nudges
    assert ahead.status is JobStatus.QUEUED, (
        "whose line is longer than itself waits for the loop, too"
    )
    assert len(scene.bus.assigned) == 1


async def test_the_only_one_in_line_is_tried_at_once() -> None:
    scene = await overloaded(slots=1, waiting=0)
    only = await scene.submit(request_hash=b"only")
    await cancel_here(scene.world, scene.bus.assigned[0].job_id, "room")

    assert (await dispatch_in_turn(scene.world, only)).status is JobStatus.RUNNING


async def test_who_ended_in_line_keeps_nobody_back() -> None:
    scene = await overloaded(slots=1, waiting=0)
    waiting = await scene.submit(request_hash=b"impatient")
    for job_id in (waiting.id, scene.bus.assigned[0].job_id):
        await cancel_here(scene.world, job_id, "no more")

    made = await make_job(scene.world, scene.submission(request_hash=b"next"))

    assert made.job.status is JobStatus.RUNNING


async def test_who_waits_for_what_no_free_slot_is_for_keeps_nobody_back() -> None:
    scene = await overloaded(slots=1, waiting=2)
    other = await builders.a_stored_cargo(scene.store, slug="other")
    scene.world.catalogue.load([scene.cargo, other], scene.world.catalogue.document)
    await scene.island(offers=(builders.an_offer(other),))

    made = await make_job(scene.world, scene.submission(workload="other", request_hash=b"other"))

    assert made.job.status is JobStatus.RUNNING


async def test_a_job_that_waits_past_its_customers_time_ends_and_costs_nothing() -> None:
    scene = await overloaded(slots=1, waiting=0)
    before = await scene.balance()
    made = await make_job(scene.world, scene.submission(request_hash=b"hurry", within_s=21.0))
    assert made.job.status is JobStatus.QUEUED
    scene.clock.advance(21.0)

    await end_overdue(scene.world)

    job = await scene.job(made.job.id)
    assert (job.status, job.cause, job.error) == (JobStatus.FAILED, Cause.DEADLINE, TOO_LATE)
    assert await scene.balance() == before and job.charged == 0


@pytest.mark.parametrize(("after_s", "then"), [(10.5, "running"), (11.5, "queued")])
async def test_what_cannot_be_ended_in_time_is_not_begun(after_s: float, then: str) -> None:
    scene = await overloaded(slots=1, waiting=0)
    made = await make_job(scene.world, scene.submission(request_hash=b"hurry", within_s=21.0))
    running = next(one.job_id for one in scene.bus.assigned)
    scene.clock.advance(after_s)
    await cancel_here(scene.world, running, "room")

    job = await dispatch(scene.world, made.job.id)

    # Hardly one takes less than ten seconds.
    assert job.status == then


async def test_a_time_that_nobody_could_keep_is_refused_and_nothing_is_stored() -> None:
    scene = await overloaded(slots=1, waiting=0)
    before = await reserved(scene)

    with pytest.raises(InvalidInput) as refused:
        await make_job(scene.world, scene.submission(request_hash=b"at once", within_s=2.0))

    assert "10.0 s" in refused.value.errors[WITHIN][0]
    assert await reserved(scene) == before


async def test_a_request_that_stands_is_joined_however_short_its_time_has_become() -> None:
    scene = await overloaded(slots=1, waiting=0)
    same = scene.submission(request_hash=b"same", idempotency_key="same", within_s=25.0)
    first = await make_job(scene.world, same)
    for _ in range(20):
        scene.world.forecast.slot_times.learn(scene.cargo.digest, 60.0)

    assert (await make_job(scene.world, same)).job.id == first.job.id


async def test_a_shorter_time_buys_no_turn_but_an_earlier_no() -> None:
    scene = await overloaded(slots=1, waiting=1)

    with pytest.raises(Overloaded) as refused:
        await make_job(scene.world, scene.submission(request_hash=b"hurry", within_s=15.0))
    patient = await make_job(scene.world, scene.submission(request_hash=b"patient"))

    assert (refused.value.wait_s, refused.value.target_s) == (20.0, 5.0)
    assert patient.job.status is JobStatus.QUEUED


async def test_what_was_delivered_before_ones_own_time_ran_out_is_paid() -> None:
    scene = await a_scene()
    await scene.island()
    made = await make_job(scene.world, scene.submission(within_s=5.0))
    reader = await watch(scene.world, made.job.id)
    scene.stream(made.job, "much", "of", "it")
    assert reader.take() == ["much", "of", "it"]
    reader.delivered()
    scene.clock.advance(5.0)

    await end_overdue(scene.world)

    job = await scene.job(made.job.id)
    assert (job.status, job.error) == (JobStatus.CANCELLED, TOO_LATE)
    assert job.charged > 0 and job.output_items == 3
    assert scene.bus.cancelled, "its Island is told"
