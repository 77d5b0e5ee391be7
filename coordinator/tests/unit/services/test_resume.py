"""Failover in mid-stream: another Island goes on at the next position, and the reader cannot tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import Island
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import INSURANCE, AccountId, owner_account
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import User
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.failover import failover
from archipelag_coordinator.services.follow import keep_up
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.upkeep import overdue_jobs
from archipelag_coordinator.services.wanting import AVOID_S
from archipelag_coordinator.services.watch import Reader, watch
from archipelag_coordinator.testing.builders import CREDIT, a_stored_island, a_user, an_offer
from archipelag_coordinator.testing.worlds import Scene, a_scene

PROMPT, ITEM = 20, 100


async def held(scene: Scene, account: AccountId) -> int:
    async with scene.store.begin() as tx:
        return (await tx.ledger.account(account)).balance


async def an_island_of(scene: Scene, owner: User) -> Island:
    async with scene.store.begin() as tx:
        await tx.users.add(owner)
    island = await a_stored_island(scene.store, owner, cargo=scene.cargo)
    scene.world.fleet.load([island])
    return island


async def a_reading(**changes: Any) -> tuple[Scene, dict[str, User], Job, Reader]:
    """Two Islands of two owners; the first has streamed two items, which a reader got."""
    scene = await a_scene(**changes)
    owners: dict[str, User] = {}
    for _ in range(2):
        owner = a_user()
        owners[(await an_island_of(scene, owner)).id] = owner
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    assert scene.stream(job, "Hel", "lo") is None
    assert reader.take() == ["Hel", "lo"]
    reader.delivered()
    return scene, owners, job, reader


async def test_another_island_continues_at_the_next_position() -> None:
    scene, owners, job, reader = await a_reading()
    insurance = await held(scene, INSURANCE)

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    job = await dispatch(scene.world, job.id)
    scene.stream(job, " wor", "ld")
    done = await track(
        scene.world, scene.report(job, " wor", "ld", first_position=2, next_position=4)
    )

    first, second = scene.bus.assigned
    assert first.island_id != second.island_id
    assert (second.epoch, second.first_position) == (2, 2)
    assert (second.resume_texts, second.resume_tokens) == (("Hel", "lo"), (0, 0))
    assert reader.take() == [" wor", "ld"]
    assert reader.final is not None and reader.final.status == "succeeded"
    assert (done.output, done.output_items) == ("Hello world", 4)
    charged = 5 * PROMPT + 4 * ITEM
    assert done.charged == charged and await scene.balance() == CREDIT - charged
    # Each for its positions, the first for the prompt too; who read prompt and answer so far again, from the insurance.
    reread = (5 + 2) * PROMPT * 85 // 100
    pay = {island: await held(scene, owner_account(owner.id)) for island, owner in owners.items()}
    assert pay[first.island_id] == (5 * PROMPT + 2 * ITEM) * 85 // 100
    assert pay[second.island_id] == 2 * ITEM * 85 // 100 + reread
    assert await held(scene, INSURANCE) == insurance + charged * 5 // 100 - reread


async def test_what_the_lost_island_still_says_is_refused() -> None:
    scene, _, job, reader = await a_reading()

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    late = scene.relay.deliver(job.id, job.epoch, 2, ["LATE"])
    await dispatch(scene.world, job.id)
    later = scene.relay.deliver(job.id, job.epoch, 2, ["LATER"])

    assert (late, later) == ("not open", "not open")
    assert reader.take() == []


async def test_an_overlap_of_the_new_island_is_dropped() -> None:
    scene, _, job, reader = await a_reading()
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    job = await dispatch(scene.world, job.id)

    scene.relay.deliver(job.id, job.epoch, 1, ["lo", " you"])

    assert reader.take() == [" you"]


async def test_what_was_accepted_and_not_yet_read_is_kept_too() -> None:
    scene, _, job, reader = await a_reading()
    scene.stream(job, " unread")

    await failover(scene.world, job.id, job.epoch, Cause.CARGO_DIED, "exit 139")
    await dispatch(scene.world, job.id)

    assert scene.bus.assigned[-1].first_position == 3
    assert reader.take() == [" unread"]


async def test_nothing_is_built_upon_output_that_broke_the_protocol() -> None:
    scene, _, job, _ = await a_reading()

    failed = await failover(scene.world, job.id, job.epoch, Cause.BAD_OUTPUT, "a gap")

    assert (failed.status, failed.cause) == (JobStatus.FAILED, Cause.BAD_OUTPUT)
    assert await scene.balance() == CREDIT


async def test_a_cargo_that_cannot_resume_ends_with_a_clear_error_and_costs_nothing() -> None:
    scene, _, job, reader = await a_reading(resumable=False)

    failed = await failover(
        scene.world, job.id, job.epoch, Cause.LEASE_LOST, "the Island is silent"
    )

    assert failed.status is JobStatus.FAILED
    assert reader.final is not None and reader.final.error == "the Island is silent"
    assert await scene.balance() == CREDIT


async def test_after_a_long_run_there_is_time_again_to_find_an_island() -> None:
    scene, _, job, _ = await a_reading()
    scene.clock.advance(100)

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    early = await overdue_jobs(scene.world, 10)
    scene.clock.advance(31)

    assert early == []
    assert await overdue_jobs(scene.world, 10) == [job.id]


async def test_cancelling_after_a_failover_charges_what_was_delivered_once() -> None:
    scene, _, job, reader = await a_reading()
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    job = await dispatch(scene.world, job.id)
    scene.stream(job, " wor")
    reader.take()
    reader.delivered()

    done = await cancel(scene.world, scene.user.id, job.id)

    assert (done.output, done.charged) == ("Hello wor", 5 * PROMPT + 3 * ITEM)
    assert await scene.balance() == CREDIT - done.charged


async def test_the_next_attempt_waits_until_the_last_one_is_over_here_too() -> None:
    scene, _, job, _ = await a_reading()
    answer = scene.world.answers.get(job.id)
    assert answer is not None
    async with scene.store.begin() as tx:
        stands = await tx.jobs.lock(job.id)
        attempt = await tx.attempts.get(job.id, job.epoch)
        assert stands is not None and attempt is not None
        now = scene.clock.now()
        await tx.attempts.save(attempt.lose(now, "silent", attempt.first_position), was=attempt)
        await tx.jobs.save(stands.requeue(job.epoch, "silent", now), was=stands)

    too_early = await dispatch(scene.world, job.id)
    answer.interrupt()
    now_it_may = await dispatch(scene.world, job.id)

    assert (too_early.status, now_it_may.status) == (JobStatus.QUEUED, JobStatus.RUNNING)


def another_coordinator(scene: Scene) -> Any:
    return replace(scene.another(), fleet=Fleet())


async def test_a_report_taken_by_another_coordinator_goes_on_from_there_for_readers_here() -> None:
    scene, _, job, reader = await a_reading()
    other = scene.another()

    await track(other, scene.report(job, "Hel", "lo", cause=Cause.CARGO_DIED))
    await settled(scene.world, job.id)
    running = await dispatch(other, job.id)
    await keep_up(scene.world)

    # It had not heard yet that something was delivered; the report proves what was said.
    assert (running.status, scene.bus.assigned[-1].first_position) == (JobStatus.RUNNING, 2)
    assert scene.relay.opened_for[-1] == other.home
    scene.stream(running, "!")
    assert reader.take() == ["!"]


async def test_the_process_that_relays_ends_what_cannot_go_on_because_it_was_read() -> None:
    scene, _, job, reader = await a_reading(resumable=False)

    await track(another_coordinator(scene), scene.report(job, "Hel", "lo", cause=Cause.CARGO_DIED))
    await settled(scene.world, job.id)

    assert (await scene.job(job.id)).status is JobStatus.FAILED
    assert reader.final is not None and reader.final.status == "failed"
    assert await scene.balance() == CREDIT


async def test_another_process_begins_anew_what_nobody_waits_for() -> None:
    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running(interactive=False)
    other = another_coordinator(scene)
    scene.stream(job, "Half")

    await track(other, scene.report(job, "Half", cause=Cause.CARGO_DIED))
    await dispatch(other, job.id)

    answer = other.answers.get(job.id)
    assert answer is not None and answer.texts == []
    assert scene.bus.assigned[-1].first_position == 0


async def test_a_restarted_island_that_knows_little_is_believed_and_the_stream_goes_on() -> None:
    scene, _, job, reader = await a_reading()

    waiting = await track(scene.world, scene.report(job, cause=Cause.ISLAND_STOPPED))
    await dispatch(scene.world, job.id)

    assert waiting.status is JobStatus.QUEUED
    assert scene.bus.assigned[-1].first_position == 2
    assert reader.final is None


async def test_a_report_of_success_must_show_all_that_was_streamed() -> None:
    scene, _, job, _ = await a_reading()

    failed = await track(scene.world, scene.report(job, "Hel"))

    assert failed.cause is Cause.BAD_OUTPUT


async def the_only_island(scene: Scene) -> Island:
    """All others are gone."""
    last = scene.bus.assigned[-1].island_id
    for island in scene.world.fleet.islands():
        if island.id != last:
            scene.world.fleet.forget(island.id)
    (only,) = scene.world.fleet.islands()
    return only


async def test_a_reader_is_told_at_once_when_there_is_nobody_to_hope_for() -> None:
    scene, _, job, reader = await a_reading()
    await the_only_island(scene)

    failed = await track(scene.world, scene.report(job, "Hel", "lo", cause=Cause.ISLAND_STOPPED))

    assert (failed.status, failed.cause) == (JobStatus.FAILED, Cause.ISLAND_STOPPED)
    assert reader.final is not None and reader.final.error == "the Island stopped"
    assert await scene.balance() == CREDIT


async def test_where_there_is_no_other_the_same_island_goes_on_when_its_cargo_is_back() -> None:
    scene, _, job, reader = await a_reading()
    only = await the_only_island(scene)

    waiting = await track(scene.world, scene.report(job, "Hel", "lo", cause=Cause.CARGO_DIED))
    again = await dispatch(scene.world, job.id)

    assert (waiting.status, again.status) == (JobStatus.QUEUED, JobStatus.RUNNING)
    assert scene.bus.assigned[-1].island_id == only.id
    assert scene.bus.assigned[-1].first_position == 2 and reader.final is None


async def test_a_job_goes_back_to_an_island_that_stopped_where_there_is_no_other() -> None:
    scene = await a_scene()
    only = await an_island_of(scene, a_user())
    job = await scene.running(interactive=False)
    scene.stream(job, "Hel", "lo")
    await track(scene.world, scene.report(job, "Hel", "lo", cause=Cause.ISLAND_STOPPED))

    at_once = await dispatch(scene.world, job.id)
    scene.clock.advance(AVOID_S)
    again = await dispatch(scene.world, job.id)

    assert at_once.status is JobStatus.QUEUED
    assert again.status is JobStatus.RUNNING
    assert scene.bus.assigned[-1].island_id == only.id
    assert scene.bus.assigned[-1].first_position == 2


async def test_a_job_goes_from_an_island_that_stopped_to_another_one() -> None:
    scene, _, job, _ = await a_reading()
    stopped = scene.bus.assigned[-1].island_id
    await track(scene.world, scene.report(job, "Hel", "lo", cause=Cause.ISLAND_STOPPED))
    scene.clock.advance(AVOID_S)

    await dispatch(scene.world, job.id)

    assert scene.bus.assigned[-1].island_id != stopped


async def test_an_island_that_fell_silent_gets_nothing_until_it_is_heard() -> None:
    scene, _, job, _ = await a_reading()
    only = await the_only_island(scene)

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    waits = await dispatch(scene.world, job.id)
    fresh = await dispatch(scene.world, (await scene.submit(request_hash=b"other")).id)
    scene.clock.advance(1)
    scene.world.fleet.load([replace(only, seen_at=scene.clock.now())])
    again = await dispatch(scene.world, job.id)

    assert (waits.status, fresh.status) == (JobStatus.QUEUED, JobStatus.QUEUED)
    assert "was silent a moment ago" in waits.waiting_for[0]
    assert again.status is JobStatus.RUNNING


async def test_an_island_that_has_beaten_since_it_fell_silent_is_not_in_doubt() -> None:
    scene, _, job, _ = await a_reading()
    only = await the_only_island(scene)
    scene.clock.advance(1)
    scene.world.fleet.load([replace(only, seen_at=scene.clock.now())])
    scene.clock.advance(1.5)

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent for 2.5 s")
    again = await dispatch(scene.world, job.id)

    assert again.status is JobStatus.RUNNING


async def test_nobody_hopes_for_long_for_an_island_that_does_not_come_back() -> None:
    scene, _, job, reader = await a_reading()
    await the_only_island(scene)
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")

    scene.clock.advance(30.1)
    overdue = await overdue_jobs(scene.world, 10)

    assert overdue == [job.id] and reader.final is None


async def test_one_who_has_read_nothing_may_wait_for_an_island_to_come() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.stream(job, "Hel")

    waiting = await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")

    assert waiting.status is JobStatus.QUEUED


async def test_a_reader_who_takes_while_the_store_commits_is_not_given_another_beginning() -> None:
    from archipelag_coordinator.services import ending

    scene = await a_scene(resumable=False)
    await scene.island()
    await scene.island()
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    scene.stream(job, "Half")
    async with scene.store.begin() as tx:
        stands = await tx.jobs.lock(job.id)
        attempt = await tx.attempts.get(job.id, job.epoch)
        assert stands is not None and attempt is not None
        closed = await ending.end_attempt(
            scene.world,
            tx,
            stands,
            attempt,
            cause=Cause.CARGO_DIED,
            reason="it died",
            now=scene.clock.now(),
        )
        assert reader.take() == ["Half"]

    await ending.announce(scene.world, closed)

    assert (await scene.job(job.id)).status is JobStatus.FAILED
    assert reader.final is not None and reader.final.error == "it died"


async def two_classes(**policy: Any) -> tuple[Scene, Job, Island, Island, Island]:
    """An answer begun in class a; of the two others, the one of class b is far faster."""
    scene = await a_scene(policy=Policy(**policy))

    async def island(of_class: str, items_per_s: float) -> Island:
        offer = an_offer(scene.cargo, determinism_class=of_class, items_per_s=items_per_s)
        return await scene.island(offers=(offer,))

    first = await island("a", 900.0)
    job = await scene.running()
    reader = await watch(scene.world, job.id)
    scene.stream(job, "Hel", "lo")
    reader.take()
    reader.delivered()
    return scene, job, first, await island("a", 1.0), await island("b", 900.0)


async def test_an_answer_goes_on_in_the_class_that_it_began_in() -> None:
    scene, job, first, same, _ = await two_classes()

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    await dispatch(scene.world, job.id)

    async with scene.store.begin() as tx:
        one, two = await tx.attempts.of_job(job.id)
    assert (one.island_id, two.island_id) == (first.id, same.id)
    assert (one.determinism_class, two.determinism_class) == ("a", "a")
    assert "same determinism class" in two.placement.why


async def test_what_another_class_made_sets_the_class_to_continue_in() -> None:
    scene, job, _, same, other = await two_classes()
    scene.bus.refuse(same.id)

    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    job = await dispatch(scene.world, job.id)
    scene.stream(job, "!")
    third = await scene.island(offers=(an_offer(scene.cargo, determinism_class="b"),))
    scene.bus.accept(same.id)
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    await dispatch(scene.world, job.id)

    assert [one.island_id for one in scene.bus.assigned[-2:]] == [other.id, third.id]


async def test_a_strict_network_fails_a_reader_at_once_where_nobody_has_the_class() -> None:
    scene, job, _, same, other = await two_classes(same_class_only=True)
    scene.world.fleet.forget(same.id)

    failed = await failover(scene.world, job.id, job.epoch, Cause.ISLAND_STOPPED, "drained")

    assert failed.status is JobStatus.FAILED
    assert other.id in {island.id for island in scene.world.fleet.islands()}


async def a_broken_continuation(*, read: bool) -> tuple[Scene, Job, Reader]:
    """The first Island said two items that were read; the second one went on with what it may not say."""
    scene, owners, job, reader = await a_reading()
    await an_island_of(scene, a_user())
    await failover(scene.world, job.id, job.epoch, Cause.LEASE_LOST, "silent")
    again = await dispatch(scene.world, job.id)
    assert len(owners) == 2 and scene.bus.assigned[-1].first_position == 2
    scene.stream(again, "false")
    if read:
        reader.take()
    await failover(scene.world, job.id, again.epoch, Cause.BAD_OUTPUT, "a gap")
    return scene, await scene.job(job.id), reader


async def test_what_an_honest_island_said_stands_when_the_next_one_breaks_the_protocol() -> None:
    scene, job, reader = await a_broken_continuation(read=False)

    third = await dispatch(scene.world, job.id)

    assert (third.epoch, scene.bus.assigned[-1].first_position) == (3, 2)
    assert scene.bus.assigned[-1].resume_texts == ("Hel", "lo")
    scene.stream(third, "!")
    assert reader.take() == ["!"]
    async with scene.store.begin() as tx:
        assert (await tx.items.of_job(job.id)).texts == ("Hel", "lo")


async def test_what_a_reader_was_given_is_not_taken_back() -> None:
    _, job, reader = await a_broken_continuation(read=True)

    assert (job.status, job.cause) == (JobStatus.FAILED, Cause.BAD_OUTPUT)
    assert reader.final is not None and reader.final.cause is Cause.BAD_OUTPUT
