"""Gives a queued job to an Island: place, commit, then send; again elsewhere when that Island says no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from archipelag_contracts.ids import JobId, Position

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.berth import Room
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.file import Input
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.placement import Placement, Wanted
from archipelag_coordinator.domain.prefixes import Prefix, salt_of
from archipelag_coordinator.errors import NoPlacement, NotFound, StaleAttempt
from archipelag_coordinator.services.ending import cargo_of
from archipelag_coordinator.services.expect import (
    IN_LINE,
    is_too_late,
    line_of,
    may_have_room,
    others_first,
)
from archipelag_coordinator.services.ports import (
    Accepted,
    Assignment,
    Refused,
    Tx,
    Unreachable,
)
from archipelag_coordinator.services.recall import recall
from archipelag_coordinator.services.wanting import NO_SLOT, wanted_of
from archipelag_coordinator.services.world import World

TRIES_MAX: Final = 8
"""Islands asked in one go; after that the job waits for the next turn."""
BROKER_AWAY: Final = "the message fabric cannot be reached; trying again"
STALE: Final = "stale"
"""An Island that says this of everything has a clock that is wrong: asked once a heartbeat, not twice a second."""


@dataclass(frozen=True)
class Given:
    """A job that has begun, and its attempt, which is to be sent once both are stored."""

    job: Job
    attempt: Attempt
    cargo: Cargo
    files: tuple[Input, ...] = ()


@dataclass(frozen=True)
class Over:
    """An attempt that its Island did not take, which is still to be stored."""

    given: Given
    said: Refused | Unreachable


def place_first(
    world: World, job: Job, cargo: Cargo, prefixes: tuple[Prefix, ...] = ()
) -> Given | Job:
    """Begins the first epoch of a job that is about to be stored, so that one transaction takes it and gives it away.
    To be followed by `dispatch` once that stands, else by `unplace`. A job: it is stored as that, queued; with the
    reasons why nobody takes it, or without, where `dispatch` is to find out."""
    if not world.bus.connected or not cargo.may_start or cargo.manifest.reads_files:
        return job
    if others_first(world, job):
        return job.wait((IN_LINE,))
    wanted = wanted_of(world, job, (), continues=False, prefixes=prefixes)
    try:
        with world.traces.span("place", job.id):
            placement = _place(world, wanted)
    except NoPlacement as nobody:
        return job.wait(_reasons(nobody))
    started = job.start(job.created_at)
    attempt = _attempt(world, started, placement, Position(0))
    world.fleet.assigned(attempt.island_id, (job.id, attempt.epoch))
    world.forecast.lines.began(line_of(job), waited=False)
    return Given(started, attempt, cargo)


def unplace(world: World, first: Given) -> None:
    """It was not stored after all."""
    world.fleet.freed(first.attempt.island_id, (first.job.id, first.attempt.epoch))
    world.forecast.lines.let_go(line_of(first.job))


async def dispatch(world: World, job_id: JobId, first: Given | None = None) -> Job:
    """Returns the job as it then stands: running, or queued with the reasons why nobody takes it. `first`: its first
    attempt, which stands already and is to be sent.

    Raises NotFound. Never raises NoPlacement: waiting is a state, and its reasons are kept with the job.
    """
    answer = world.answers.get(job_id)
    if answer is not None:
        answer.placing = True
    try:
        return await _dispatch(world, job_id, first)
    finally:
        if answer is not None:
            answer.placing = False


async def dispatch_in_turn(world: World, job: Job) -> Job:
    """The first try of a job that has just been put in line; where others have their turn before it, there is none."""
    if not others_first(world, job, joined=True):
        return await dispatch(world, job.id)
    if may_have_room(world, job):
        world.nudge()
    return job


async def _dispatch(world: World, job_id: JobId, first: Given | None) -> Job:
    over: Over | None = None
    for _ in range(TRIES_MAX):
        if first is None:
            with world.traces.span("place", job_id):
                given = await _give(world, job_id, over)
        else:
            given, first = first, None
        if over is not None:
            await _say_over(world, over)
            over = None
        if isinstance(given, Job):
            return given
        answer = world.answers.get(job_id)
        assert answer is not None, "a job that is given away from here has its answer here"
        _listen(world, given, answer)
        said = await _assign(world, given, answer)
        # Items say yes as well as the reply does, which may have been lost.
        spoke = answer.next > given.attempt.first_position
        if isinstance(said, Accepted) or (isinstance(said, Unreachable) and spoke):
            answer.accepted(world.clock.monotonic())
            _note_accepted(world, given, answer, said)
            return given.job
        over = _end(world, given, answer, said)
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        assert job is not None
        if over is not None:
            job = await _queue_again(world, tx, job, over)
    if over is not None:
        await _say_over(world, over)
    return job


async def _assign(world: World, given: Given, answer: Answer) -> Accepted | Refused | Unreachable:
    attempt, began = given.attempt, world.clock.monotonic()
    with world.traces.span("assign", attempt.job_id, island_id=attempt.island_id):
        said = await world.bus.assign(
            _assignment(world, given, answer),
            attempt.assigned_at,
            world.policy.assign_timeout_s,
        )
    world.tally.assigning.add(world.clock.monotonic() - began)
    world.tally.assignments[type(said).__name__.lower()] += 1
    return said


def _note_accepted(
    world: World, given: Given, answer: Answer, said: Accepted | Unreachable
) -> None:
    attempt = given.attempt
    world.fleet.answered(attempt.island_id, (attempt.job_id, attempt.epoch))
    if isinstance(said, Accepted) and said.room is not None:
        _note_room(world, given, said.room)
    if attempt.epoch == 1:
        # Once a job: what it waits for after an Island has lost it is a failover's.
        world.tally.queue_wait.add(world.clock.monotonic() - answer.opened_at)
    if answer.prefixes:
        world.tally.begun_with[attempt.placement.remembered_tokens > 0] += 1
        key = (attempt.job_id, attempt.epoch)
        world.fleet.accepted(attempt.island_id, key, answer.prefixes)


def _note_room(world: World, given: Given, room: Room | None) -> None:
    job, now = given.job, world.clock.now()
    world.fleet.said(given.attempt.island_id, job.cargo_slug, job.cargo_digest, room, now)


async def _give(world: World, job_id: JobId, over: Over | None) -> Job | Given:
    """Begins the job's next epoch on the chosen Island, or keeps the reasons why nobody takes it; what is `over` is
    stored with that, so that an Island that said no costs one commit and not two."""
    taken: Attempt | None = None

    def take(attempt: Attempt) -> None:
        # Before anything is awaited, so that jobs that are given away at the same time do not all see the same slot.
        nonlocal taken
        taken = attempt
        world.fleet.assigned(attempt.island_id, (attempt.job_id, attempt.epoch))

    try:
        given = await _store_next(world, job_id, take, over)
    except BaseException:
        if taken is not None:
            world.fleet.freed(taken.island_id, (taken.job_id, taken.epoch))
        raise
    if isinstance(given, Given):
        world.forecast.lines.began(line_of(given.job), waited=True)
    return given


async def _store_next(
    world: World, job_id: JobId, take: Callable[[Attempt], None], over: Over | None
) -> Job | Given:
    """In one transaction. `take` is told of the attempt as soon as there is one."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(job_id)
        if job is None:
            raise NotFound("job", job_id)
        if over is not None:
            job = await _queue_again(world, tx, job, over)
        if job.status is not JobStatus.QUEUED or job.home != world.home:
            return job
        answer = await recall(world, tx, job)
        if 0 < answer.epoch == job.epoch and not answer.interrupted:
            return job  # The last attempt is over in the store and not yet here: see `settled`.
        if not world.bus.connected:
            return await _keep_reasons(world, tx, job, NoPlacement([BROKER_AWAY]))
        cargo = await cargo_of(world, tx, job)
        if not cargo.may_start or is_too_late(world, job):
            return job  # Withdrawn, revoked or of no use any more: a loop ends it.
        attempts = await tx.attempts.of_job(job.id) if job.epoch else []
        begun = answer.next > 0
        wanted = wanted_of(world, job, attempts, continues=begun, prefixes=answer.prefixes)
        try:
            placement = _place(world, wanted)
        except NoPlacement as nobody:
            return await _keep_reasons(world, tx, job, nobody)
        started = job.start(now)
        begin = Position(answer.next)
        attempt = _attempt(world, started, placement, begin)
        take(attempt)
        # Most Cargos read none, and their jobs are not asked about at the database.
        files = tuple(await tx.files.inputs(job.id)) if cargo.manifest.reads_files else ()
        await tx.jobs.save(started, was=job)
        await tx.attempts.add(attempt)
    return Given(started, attempt, cargo, files)


def _place(world: World, wanted: Wanted) -> Placement:
    began = world.clock.monotonic()
    world.fleet.look_again(world.clock.now())
    try:
        return world.fleet.choose(wanted, world.ids.chance())
    except NoPlacement:
        world.tally.unplaced += 1
        raise
    finally:
        world.tally.placement.add(world.clock.monotonic() - began)


def _attempt(world: World, job: Job, placement: Placement, begin: Position) -> Attempt:
    """The current epoch of a job that has just been started."""
    assert job.started_at is not None
    now = world.clock.now()
    return Attempt(
        job_id=job.id,
        epoch=job.epoch,
        island_id=placement.island_id,
        relay=world.home,
        status=AttemptStatus.ASSIGNED,
        assigned_at=now,
        lease_until=now + timedelta(seconds=_lease_s(world)),
        placement=placement,
        first_position=begin,
        next_position=begin,
    )


async def _keep_reasons(world: World, tx: Tx, job: Job, nobody: NoPlacement) -> Job:
    waiting = job.wait(_reasons(nobody))
    if waiting != job:
        await tx.jobs.save(waiting, was=job)
    if (answer := world.answers.get(job.id)) is not None:
        answer.wait(waiting.waiting_for)
    return waiting


def _reasons(nobody: NoPlacement) -> tuple[str, ...]:
    return tuple(nobody.reasons) or ("no Island is connected",)


def _listen(world: World, given: Given, answer: Answer) -> None:
    """The relay is open before the Island hears of the job, so that no chunk comes too early."""
    attempt = given.attempt
    answer.begin(attempt.epoch, world.clock.monotonic(), attempt.island_id)
    world.relay.open(answer, attempt.island_id, attempt.epoch)


def _lease_s(world: World) -> float:
    return world.policy.lease_for_s(len(world.fleet))


def _assignment(world: World, given: Given, answer: Answer) -> Assignment:
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
        traceparent=world.traces.carried(),
        cache_salt=_salt(world, given) if answer.prefixes else b"",
        prefixes=tuple(prefix.name for prefix in answer.prefixes),
    )


def _salt(world: World, given: Given) -> bytes:
    job, island = given.job, given.attempt.island_id
    return salt_of(world.prompt_secret, job.user_id, job.cargo_digest, island)


def _end(world: World, given: Given, answer: Answer, said: Refused | Unreachable) -> Over:
    """The Island said no, or nothing: here, this epoch is over. It is to be stored with what is done next."""
    attempt, now = given.attempt, world.clock.now()
    world.relay.close(attempt.island_id, attempt.job_id, attempt.epoch)
    answer.interrupt()
    if isinstance(said, Unreachable) or said.reason.startswith(STALE):
        world.fleet.doubt(attempt.island_id, now)
    elif said.room is not None or said.reason.startswith(NO_SLOT):
        _note_room(world, given, said.room)
    # After its word, or its slot would look free between the two.
    world.fleet.freed(attempt.island_id, (attempt.job_id, attempt.epoch))
    return Over(given, said)


async def _queue_again(world: World, tx: Tx, job: Job, over: Over) -> Job:
    """Stores that this epoch is given up and that the job waits again. Where it was settled, or has another home,
    in the meantime, it is left as it stands."""
    attempt, said = over.given.attempt, over.said
    if job.home != world.home:
        return job  # Whoever has it now may have heard of the attempt what we have not.
    reason = f"{_name(over.given)} said: {said.reason}"
    try:
        waiting = job.requeue(attempt.epoch, reason, job.queue_until)
        refused = attempt.refuse(world.clock.now(), said.reason, answered=isinstance(said, Refused))
        await tx.attempts.save(refused, was=attempt)
        await tx.jobs.save(waiting, was=job)
    except StaleAttempt:
        return job  # Cancelled, or ended otherwise, in the meantime.
    world.forecast.lines.let_go(line_of(job))
    world.forecast.lines.joined(line_of(job), job.created_at)
    return waiting


async def _say_over(world: World, over: Over) -> None:
    """After commit, to an Island that may have heard us all the same."""
    if isinstance(over.said, Unreachable):
        attempt, now = over.given.attempt, world.clock.now()
        why = "no answer in time"
        await world.bus.cancel(attempt.island_id, attempt.job_id, attempt.epoch, why, issued_at=now)


def _name(given: Given) -> str:
    chosen = given.attempt.placement.island_id
    return next((v.name for v in given.attempt.placement.verdicts if v.island_id == chosen), chosen)
