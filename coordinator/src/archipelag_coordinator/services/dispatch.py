"""Gives a queued job to an Island: place, commit, then send; again elsewhere when that Island says no."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import JobId, Position

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.file import Input
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.errors import NoPlacement, NotFound, StaleAttempt
from archipelag_coordinator.services.ending import cargo_of
from archipelag_coordinator.services.ports import (
    Accepted,
    Assignment,
    Refused,
    Tx,
    Unreachable,
)
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.services.wanting import wanted_of
from archipelag_coordinator.services.world import World

TRIES_MAX: Final = 8
"""Islands asked in one go; after that the job waits for the next turn."""
BROKER_AWAY: Final = "the message fabric cannot be reached; trying again"
STALE: Final = "stale"
"""An Island that says this of everything has a clock that is wrong: asked once a heartbeat, not twice a second."""


@dataclass(frozen=True)
class _Given:
    """An attempt that was committed and is to be sent."""

    job: Job
    attempt: Attempt
    cargo: Cargo
    answer: Answer
    files: tuple[Input, ...]


async def dispatch(world: World, job_id: JobId) -> Job:
    """Returns the job as it then stands: running, or queued with the reasons why nobody takes it.

    Raises NotFound. Never raises NoPlacement: waiting is a state, and its reasons are kept with the job.
    """
    answer = world.answers.get(job_id)
    if answer is not None:
        answer.placing = True
    try:
        return await _dispatch(world, job_id)
    finally:
        if answer is not None:
            answer.placing = False


async def _dispatch(world: World, job_id: JobId) -> Job:
    for _ in range(TRIES_MAX):
        given = await _give(world, job_id)
        if isinstance(given, Job):
            return given
        answer = given.answer
        _listen(world, given)
        said = await world.bus.assign(
            _assignment(world, given, answer),
            given.attempt.assigned_at,
            world.policy.assign_timeout_s,
        )
        # Items say yes as well as the reply does, which may have been lost.
        spoke = answer.next > given.attempt.first_position
        if isinstance(said, Accepted) or (isinstance(said, Unreachable) and spoke):
            answer.accepted(world.clock.monotonic())
            return given.job
        await _take_back(world, given, said)
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    assert job is not None
    return job


async def _give(world: World, job_id: JobId) -> Job | _Given:
    """One transaction: the job's next epoch begins on the chosen Island, or the reasons are kept."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None:
            raise NotFound("job", job_id)
        if job.status is not JobStatus.QUEUED or job.home != world.home:
            return job
        answer = await recall(world, tx, job)
        if 0 < answer.epoch == job.epoch and not answer.interrupted:
            return job  # The last attempt is over in the store and not yet here: see `settled`.
        if not world.bus.connected:
            return await _keep_reasons(world, tx, job, NoPlacement([BROKER_AWAY]))
        cargo = await cargo_of(world, tx, job)
        if not cargo.may_start:
            return job  # Withdrawn or revoked: a loop ends it.
        attempts = await tx.attempts.of_job(job.id) if job.epoch else []
        wanted = wanted_of(world, job, attempts, continues=answer.next > 0)
        try:
            placement = world.fleet.choose(wanted, world.ids.chance())
        except NoPlacement as nobody:
            return await _keep_reasons(world, tx, job, nobody)
        # Most Cargos read none, and their jobs are not asked about at the database.
        files = tuple(await tx.files.inputs(job.id)) if cargo.manifest.reads_files else ()
        started = job.start(now)
        begin = Position(answer.next)
        attempt = Attempt(
            job_id=job.id,
            epoch=started.epoch,
            island_id=placement.island_id,
            relay=world.home,
            status=AttemptStatus.ASSIGNED,
            assigned_at=now,
            lease_until=now + timedelta(seconds=_lease_s(world)),
            placement=placement,
            first_position=begin,
            next_position=begin,
        )
        await tx.jobs.save(started, was=job)
        await tx.attempts.add(attempt)
    # Counted at once, so that a hundred requests in the same instant do not all see the same free slot.
    world.fleet.assigned(attempt.island_id, (job.id, attempt.epoch))
    return _Given(started, attempt, cargo, answer, files)


async def _keep_reasons(world: World, tx: Tx, job: Job, nobody: NoPlacement) -> Job:
    reasons = tuple(nobody.reasons) or ("no Island is connected",)
    waiting = job.wait(reasons)
    if waiting != job:
        await tx.jobs.save(waiting, was=job)
    if (answer := world.answers.get(job.id)) is not None:
        answer.wait(reasons)
    return waiting


def _listen(world: World, given: _Given) -> None:
    """The relay is open before the Island hears of the job, so that no chunk comes too early."""
    answer, attempt = given.answer, given.attempt
    answer.begin(attempt.epoch, world.clock.monotonic(), attempt.island_id)
    world.relay.open(answer, attempt.island_id, attempt.epoch)


def _lease_s(world: World) -> float:
    return world.policy.lease_for_s(len(world.fleet))


def _assignment(world: World, given: _Given, answer: Answer) -> Assignment:
    job, attempt, limits = given.job, given.attempt, given.cargo.manifest.limits
    left_s = (job.deadline_at - attempt.assigned_at).total_seconds()
    return Assignment(
        job_id=job.id,
        epoch=attempt.epoch,
        island_id=attempt.island_id,
        relay=world.home,
        cargo_slug=job.cargo_slug,
        cargo_digest=job.cargo_digest,
        input=job.input,
        lease_ms=int(_lease_s(world) * 1000),
        deadline_ms=int(1000 * max(1.0, min(left_s, limits.seconds))),
        first_position=attempt.first_position,
        resume_tokens=tuple(answer.tokens[: attempt.first_position]),
        resume_texts=tuple(answer.texts[: attempt.first_position]),
        output_items_max=job.output_items_max,
        output_bytes_max=limits.output_bytes_max,
        files=given.files,
    )


async def _take_back(world: World, given: _Given, said: Refused | Unreachable) -> None:
    """The Island said no, or nothing: this epoch is given up and the job is queued again."""
    job, attempt = given.job, given.attempt
    world.relay.close(attempt.island_id, attempt.job_id, attempt.epoch)
    given.answer.interrupt()
    world.fleet.freed(attempt.island_id, (attempt.job_id, attempt.epoch))
    now = world.clock.now()
    try:
        async with world.store.begin() as tx:
            current = await tx.jobs.lock(job.id)
            assert current is not None
            reason = f"{_name(given)} said: {said.reason}"
            waiting = current.requeue(attempt.epoch, reason, current.queue_until)
            await tx.attempts.save(
                attempt.refuse(now, said.reason, answered=isinstance(said, Refused)), was=attempt
            )
            await tx.jobs.save(waiting, was=current)
    except StaleAttempt:
        return  # Cancelled, or ended otherwise, in the meantime.
    if isinstance(said, Unreachable) or said.reason.startswith(STALE):
        world.fleet.doubt(attempt.island_id, now)
    if isinstance(said, Unreachable):
        # It may have heard us all the same.
        await world.bus.cancel(
            attempt.island_id, job.id, attempt.epoch, "no answer in time", issued_at=now
        )


def _name(given: _Given) -> str:
    chosen = given.attempt.placement.island_id
    return next((v.name for v in given.attempt.placement.verdicts if v.island_id == chosen), chosen)
