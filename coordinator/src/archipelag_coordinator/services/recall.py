"""How a process comes to know an answer that it has not relayed from the start. Common ground of the verbs.

PostgreSQL has the items up to about a second ago, and all of them up to where the current attempt began. What that
attempt has said since is in the stream that keeps all output, and goes on live, whichever process it was meant for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from archipelag_contracts.ids import JobId, Position

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.ending import (
    cargo_of,
    current_attempt,
    ending_of,
    is_resumable,
)
from archipelag_coordinator.services.ports import Mark, Tx
from archipelag_coordinator.services.world import World

STORED_BYTES_MAX: Final = 2**31
"""What was accepted once is not measured again."""


async def make_home(world: World, tx: Tx, job: Job) -> Job:
    """This process settles the job, so it is its home from now on. The job is locked."""
    if job.home == world.home:
        return job
    moved = await tx.jobs.take_home(job.id, world.home, was=job.home)
    assert moved, "a locked job moves to nobody else"
    return replace(job, home=world.home)


async def recall(world: World, tx: Tx, job: Job) -> Answer:
    """The answer of an unfinished job whose home is this process, be it known here or not."""
    assert job.home == world.home and not job.finished
    known = world.answers.own(job.id)
    if known is not None:
        free_ended(world, known, job)
        return known
    items = await tx.items.of_job(job.id)
    return await _recall(world, tx, job, items, await current_attempt(tx, job))


async def recall_all(world: World, tx: Tx, jobs: Sequence[Job], place: int | None = None) -> None:
    """The same of several, by few statements, whose home this process has just become: what it knows of one from
    before may be of an attempt that has ended since. `place`: of the stream of all output, before which all is
    stored."""
    for job in jobs:
        known = world.answers.own(job.id)
        if known is not None and known.epoch < job.epoch:
            free_ended(world, known, job)
            let_go(world, known)
    unknown = [job for job in jobs if world.answers.own(job.id) is None]
    if not unknown:
        return
    ids = [job.id for job in unknown]
    items = await tx.items.of_jobs(ids)
    attempts = {attempt.job_id: attempt for attempt in await tx.attempts.current(ids)}
    for job in unknown:
        await _recall(world, tx, job, items[job.id], attempts.get(job.id), place)


async def _recall(
    world: World,
    tx: Tx,
    job: Job,
    items: Items,
    attempt: Attempt | None,
    place: int | None = None,
) -> Answer:
    world.traces.resume(job.id, job.trace)
    with world.traces.span("adopt", job.id):
        answer = await _open(world, tx, job)
        return _adopted(world, job, answer, items, attempt, place)


def _adopted(
    world: World,
    job: Job,
    answer: Answer,
    items: Items,
    attempt: Attempt | None,
    place: int | None,
) -> Answer:
    _forget_ended(answer, attempt)
    answer.load(items, stored=True)
    answer.follows, answer.recalled = False, True
    answer.counted = answer.next  # By its former home.
    answer.delivered = max(answer.delivered, job.delivered)
    answer.taken = max(answer.taken, answer.delivered)
    if answer.readers == 0 and job.interactive:
        answer.left_at, answer.orphaned = world.clock.monotonic(), True
    _stand(world, answer, job, attempt, place)
    world.answers.remember(job)
    return answer


def free_ended(world: World, answer: Answer, job: Job) -> None:
    """Its slot, where this process gave the attempt and another one ended it and went on."""
    if answer.island_id is not None and answer.epoch < job.epoch:
        world.fleet.freed(answer.island_id, (job.id, answer.epoch))


def let_go(world: World, answer: Answer) -> None:
    """The job has another home by now: what is here is a copy from now on."""
    # For a copy it only counts what was given to readers here.
    answer.follows, answer.recalled = True, False
    if answer.island_id is not None:
        world.fleet.handed_on(answer.island_id, (answer.job_id, answer.epoch))


async def follow(world: World, job_id: JobId) -> Answer:
    """The answer for a reader here, whoever relays it. Raises NotFound.

    A copy is fed by the attempt's own output, where the Cargo can resume: then whatever becomes of the attempt, what
    was read stays true. Otherwise it waits for the stored output.
    """
    now = world.clock.now()
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
        if job is None:
            raise NotFound("job", job_id)
        if job.finished:
            return _finished(world, job)
        if job.home == world.home:
            return await recall(world, tx, job)
        answer = await catch_up(world, tx, job)
        world.answers.remember(job)
        await tx.jobs.mark_delivered([Mark(job_id, Position(answer.delivered), 0, now)])
    return answer


async def catch_up(world: World, tx: Tx, job: Job) -> Answer:
    """A copy of the answer of a job whose home is another process, brought up to what is known now."""
    assert not job.finished
    known = world.answers.get(job.id)
    answer = known or await _open(world, tx, job)
    answer.follows = True
    attempt = await current_attempt(tx, job)
    answer.wait(job.waiting_for)
    if attempt is None or not await is_resumable(world, tx, job):
        return answer
    _forget_ended(answer, attempt)
    deaf = answer.attempt_end is None and not _is_open(world, answer)
    if attempt.epoch != answer.epoch or deaf:
        answer.load(await tx.items.of_job(job.id))
        _stand(world, answer, job, attempt)
    return answer


def _forget_ended(answer: Answer, attempt: Attempt | None) -> None:
    """What an ended attempt said after the current one begins may not stand, unless somebody here was given it."""
    if attempt is None or attempt.epoch == answer.epoch:
        return
    if answer.taken <= attempt.first_position < answer.next:
        answer.cut_back(attempt.first_position)


def _finished(world: World, job: Job) -> Answer:
    """The stored output, item by item."""
    answer = Answer(
        job.id,
        items_max=job.output_items_max,
        size_bytes_max=STORED_BYTES_MAX,
        now=world.clock.monotonic(),
        interactive=False,
    )
    answer.epoch = job.epoch
    answer.prompt_tokens = job.prompt_tokens
    answer.load(job.items())
    answer.finish(ending_of(job))
    return answer


async def _open(world: World, tx: Tx, job: Job) -> Answer:
    limits = (await cargo_of(world, tx, job)).manifest.limits
    return world.answers.open(
        job.id,
        items_max=job.output_items_max,
        size_bytes_max=limits.output_bytes_max,
        now=world.clock.monotonic(),
        interactive=job.interactive,
        goes_on_unread=job.goes_on_unread,
        workload=job.cargo_slug,
    )


def _is_open(world: World, answer: Answer) -> bool:
    island = answer.island_id
    return island is not None and world.relay.is_open(island, answer.job_id, answer.epoch)


def _stand(
    world: World, answer: Answer, job: Job, attempt: Attempt | None, place: int | None = None
) -> None:
    """Listens to the attempt that is current; one that is over leaves the answer waiting for the next."""
    now = world.clock.monotonic()
    answer.wait(job.waiting_for)
    answer.prompt_tokens = max(answer.prompt_tokens, job.prompt_tokens)
    if attempt is None:
        return
    if attempt.epoch > answer.epoch:
        if answer.island_id is not None:
            world.relay.close(answer.island_id, job.id, answer.epoch)
        answer.begin(attempt.epoch, now, attempt.island_id)
    if attempt.finished:
        # A copy may have listened to it.
        world.relay.close(attempt.island_id, job.id, attempt.epoch)
        answer.interrupt()
        return
    answer.accepted(now)
    if answer.attempt_end is None and not _is_open(world, answer):
        relay = None if attempt.relay == world.home else attempt.relay
        world.relay.open(answer, attempt.island_id, attempt.epoch, relay, place)
