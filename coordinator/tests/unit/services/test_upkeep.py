"""Upkeep: what a Coordinator does again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from archipelag_contracts.ids import Epoch, JobId, RelayId
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.answers import Answers
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.domain.fleet import Fleet
from archipelag_coordinator.domain.island import IslandStatus
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.domain.placement import Candidate
from archipelag_coordinator.services import upkeep
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.list_cargos import load_catalogue
from archipelag_coordinator.services.suspend import suspend_island
from archipelag_coordinator.services.track import track
from archipelag_coordinator.services.watch import watch
from archipelag_coordinator.testing.builders import a_cargo, an_id
from archipelag_coordinator.testing.worlds import a_scene


async def test_beats_are_saved_together() -> None:
    scene = await a_scene()
    island = await scene.island()
    scene.world.fleet.saw(replace(island, load=0.9), [])

    saved = await upkeep.save_beats(scene.world)
    nothing = await upkeep.save_beats(scene.world)

    async with scene.store.begin() as tx:
        kept = await tx.islands.get(island.id)
    assert kept is not None and kept.load == 0.9
    assert (saved, nothing) == (1, 0)


async def test_marks_are_saved_for_running_jobs() -> None:
    scene = await a_scene()
    await scene.island()
    read, batch, idle = (
        await scene.running(),
        await scene.running(interactive=False),
        await scene.running(),
    )
    for job in (read, batch, idle):
        scene.stream(job, "a", "b", "c")
    reader = await watch(scene.world, read.id)
    reader.take()
    reader.delivered()

    saved = await upkeep.save_marks(scene.world)

    assert saved == 3, "of the one that nobody has read yet, what was accepted"
    assert (await scene.job(read.id)).delivered == 3
    assert (await scene.job(batch.id)).delivered == 3, "what nobody waits for can be read at output"
    assert (await scene.job(idle.id)).delivered == 0


async def test_what_many_streams_said_is_saved_bit_by_bit_and_what_ended_meanwhile_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = await a_scene()
    await scene.island()
    jobs = [await scene.running() for _ in range(5)]
    for job in jobs:
        scene.stream(job, "a", "b")
    monkeypatch.setattr(upkeep, "MARKS_AT_ONCE", 2)
    begin, begun = scene.store.begin, []

    def counted() -> object:
        begun.append(1)
        last = scene.world.answers.get(jobs[-1].id)
        assert last is not None
        if len(begun) == 2:
            last.finish(Ending(Cause.COMPLETED))
        return begin()

    monkeypatch.setattr(scene.store, "begin", counted)
    saved = await upkeep.save_marks(scene.world)

    stored = [
        answer.stored for answer in map(scene.world.answers.get, [j.id for j in jobs]) if answer
    ]
    assert (saved, len(begun)) == (4, 2)
    assert stored == [2, 2, 2, 2, 0]


async def test_the_fleet_takes_over_what_others_heard_and_forgets_who_is_cut_off() -> None:
    scene = await a_scene()
    island = await scene.island()
    world = replace(scene.world, fleet=Fleet())

    await upkeep.load_fleet(world)
    known = world.fleet.get(island.id)
    await suspend_island(scene.world, scene.owner.id, island.id)
    await upkeep.load_fleet(world)

    assert known is not None
    assert world.fleet.get(island.id) is None


async def test_the_catalogue_follows_what_is_listed() -> None:
    scene = await a_scene()
    version = scene.world.catalogue.version
    await load_catalogue(scene.world)
    same = scene.world.catalogue.version
    async with scene.store.begin() as tx:
        await tx.cargos.add(a_cargo(slug="other"))

    await load_catalogue(scene.world)

    assert same == version
    assert {cargo.slug for cargo in scene.world.catalogue.cargos} == {"llm-chat", "other"}
    assert scene.world.catalogue.version != version


async def test_a_stream_is_silent_after_two_seconds_and_a_batch_job_is_not() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    await scene.running(interactive=False)
    scene.clock.advance(1.9)
    early = upkeep.silent_streams(scene.world)
    scene.clock.advance(0.2)

    (late,) = upkeep.silent_streams(scene.world)

    assert early == []
    assert (late.job_id, late.epoch) == (job.id, 1)


async def test_after_its_last_chunk_a_stream_has_longer_for_its_report() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    scene.relay.end(job.id, 1, Ending(Cause.COMPLETED))
    scene.clock.advance(9)
    early = upkeep.silent_streams(scene.world)
    scene.clock.advance(2)

    assert early == []
    assert len(upkeep.silent_streams(scene.world)) == 1


async def test_a_stream_whose_report_may_wait_here_for_its_turn_is_not_silent() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    footing = scene.world.footing
    footing.reports_read(scene.clock.monotonic())
    scene.relay.end(job.id, 1, Ending(Cause.COMPLETED))
    scene.clock.advance(60)
    behind = upkeep.silent_streams(scene.world)
    footing.reports_read(scene.clock.monotonic())

    assert behind == []
    assert [one.job_id for one in upkeep.silent_streams(scene.world)] == [job.id]


async def test_a_job_is_left_when_its_last_reader_stays_away_beyond_the_grace() -> None:
    scene = await a_scene()
    await scene.island()
    left, read = await scene.running(), await scene.running()
    (await watch(scene.world, left.id)).close()
    await watch(scene.world, read.id)
    scene.clock.advance(scene.world.policy.reader_grace_s - 0.1)
    early = upkeep.left_jobs(scene.world)
    scene.clock.advance(0.2)

    assert early == []
    assert upkeep.left_jobs(scene.world) == [left.id]


async def test_finished_answers_are_kept_a_while_and_never_under_a_reader() -> None:
    scene = await a_scene()
    await scene.island()
    job, read = await scene.running(), await scene.running()
    for one in (job, read):
        await track(scene.world, scene.report(one, "x"))
    reader = await watch(scene.world, read.id)
    early = upkeep.drop_old_answers(scene.world)
    scene.clock.advance(121)

    assert (early, upkeep.drop_old_answers(scene.world)) == (0, 1)
    assert scene.world.answers.get(read.id) is not None
    reader.close()
    assert len(scene.world.answers) == 1


async def test_an_island_that_is_late_is_silent_and_then_lost_with_its_leases() -> None:
    scene = await a_scene()
    island = await scene.island()
    job = await scene.running()
    assert await upkeep.watch_islands(scene.world) == []

    scene.clock.advance(36)
    silent = await upkeep.watch_islands(scene.world)
    status = scene.world.fleet.get(island.id)
    scene.clock.advance(85)
    lost_ones = await upkeep.watch_islands(scene.world)

    assert silent == []
    assert status is not None and status.status is IslandStatus.SILENT
    assert lost_ones == [island.id]
    assert await upkeep.expired_leases(scene.world, 10) == [(job.id, Epoch(1))]
    async with scene.store.begin() as tx:
        lost = await tx.islands.get(island.id)
    assert lost is not None and lost.status is IslandStatus.LOST


async def test_jobs_of_a_dead_coordinator_are_adopted_and_those_of_a_living_one_are_not() -> None:
    scene = await a_scene()
    await upkeep.beat(scene.world)
    waiting = await scene.submit(interactive=False)
    reading = await scene.submit()
    other = replace(scene.world, home=RelayId(an_id("rly")), answers=Answers())
    await upkeep.beat(other)

    early = await upkeep.adopt(other, 10)
    scene.clock.advance(30)
    taken = await upkeep.adopt(other, 10)

    assert early == []
    assert taken == sorted([waiting.id, reading.id])
    assert await upkeep.unknown_jobs(other, 10) == taken
    assert (await scene.job(waiting.id)).home == other.home
    assert set(await upkeep.waiting_jobs(other, 10)) == {waiting.id, reading.id}


async def test_a_job_that_a_request_is_placing_is_not_placed_by_the_loop_as_well() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.submit()
    seen: list[set[JobId]] = []
    candidates = scene.world.fleet.candidates

    def look(slug: str, digest: str) -> list[Candidate]:
        answer = scene.world.answers.get(job.id)
        seen.append({job.id} if answer is not None and answer.placing else set())
        return candidates(slug, digest)

    scene.world.fleet.candidates = look  # type: ignore[method-assign]
    before = await upkeep.waiting_jobs(scene.world, 10)
    await dispatch(scene.world, job.id)
    answer = scene.world.answers.get(job.id)

    assert before == [job.id]
    assert seen == [{job.id}]
    assert answer is not None and not answer.placing
    waiting = await scene.submit()
    standing = scene.world.answers.get(waiting.id)
    assert standing is not None
    standing.placing = True
    assert await upkeep.waiting_jobs(scene.world, 10) == []


async def test_what_is_overdue_or_expired_is_found() -> None:
    scene = await a_scene()
    await scene.island()
    runs = await scene.running()
    waits = await scene.submit(interactive=False)
    assert await upkeep.overdue_jobs(scene.world, 10) == []

    scene.clock.advance(61)
    leases = await upkeep.expired_leases(scene.world, 10)
    scene.clock.advance(10_000)
    overdue = await upkeep.overdue_jobs(scene.world, 10)

    assert leases == [(runs.id, 1)]
    assert set(overdue) == {runs.id, waits.id}


async def test_a_reservation_past_its_time_is_expired_once_its_job_is_over() -> None:
    scene = await a_scene()
    job = await scene.submit()
    balance = await scene.balance()
    async with scene.store.begin() as tx:
        stands = await tx.jobs.lock(job.id)
        assert stands is not None
        await tx.jobs.save(stands.fail(scene.clock.now(), Cause.DEADLINE, "x"), was=stands)
    scene.clock.advance(timedelta(days=1).total_seconds())

    expired = await upkeep.expire_reservations(scene.world, 10)

    assert expired == [job.id]
    assert await scene.balance() == balance + job.reserved


async def test_a_job_that_has_ended_is_not_given_out_again() -> None:
    scene = await a_scene()
    await scene.island()
    job = await scene.running()
    await track(scene.world, scene.report(job, "x"))

    assert (await dispatch(scene.world, job.id)).status is JobStatus.SUCCEEDED
