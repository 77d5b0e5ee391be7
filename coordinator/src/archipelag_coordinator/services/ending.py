"""How a job or an attempt ends, whatever ended it: money, states and notices. Common ground of the verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from archipelag_contracts.ids import JobId, Position
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.answer import Answer, Ending
from archipelag_coordinator.domain.attempt import (
    COMING_BACK,
    Attempt,
    AttemptStatus,
    Cause,
    Usage,
    class_to_continue,
)
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.settlement import prompt_tokens_of
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services import pay
from archipelag_coordinator.services.expect import line_of
from archipelag_coordinator.services.foresee import learn
from archipelag_coordinator.services.ports import Said, Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class Closed:
    """What a verb did to a job, and the attempt that ended. Where the job has not ended, another Island goes on at the
    position where this attempt ended, as it is recorded."""

    job: Job
    attempt: Attempt | None = None


async def cargo_of(world: World, tx: Tx, job: Job) -> Cargo:
    """The very version that the job runs, listed still or not: a digest names one for ever. Raises NotFound."""
    cargo = world.catalogue.by_digest(job.cargo_digest)
    cargo = cargo or await tx.cargos.by_digest(job.cargo_digest)
    if cargo is None:
        raise NotFound("workload", job.cargo_slug)
    return cargo


async def price_of(world: World, tx: Tx, job: Job) -> Price:
    return (await cargo_of(world, tx, job)).manifest.price


async def succeed(
    world: World,
    tx: Tx,
    job: Job,
    attempt: Attempt,
    *,
    texts: Sequence[str],
    finish_reason: str,
    usage: Usage,
    report: bytes,
    now: datetime,
) -> Closed:
    """The attempt completed: the user is charged once, the Islands are paid, the rest is released.

    `texts` are all items of the answer, whoever made them.
    """
    usage = _bounded(usage, job)
    ended = attempt.succeed(now, usage, Position(len(texts)), report)
    await tx.attempts.save(ended, was=attempt)
    attempts = [ended] if ended.epoch == 1 else await tx.attempts.of_job(job.id)
    prompt_tokens = prompt_tokens_of(attempts, job.prompt_tokens_max)
    charged = await pay.settle(
        world,
        tx,
        job,
        await price_of(world, tx, job),
        attempts,
        prompt_tokens=prompt_tokens,
        output_items=len(texts),
        now=now,
    )
    done = job.succeed(
        attempt.epoch,
        now,
        texts=texts,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        charged=charged,
    )
    await tx.jobs.save(done, was=job)
    return Closed(done, ended)


async def cancel(
    world: World,
    tx: Tx,
    job: Job,
    attempt: Attempt | None,
    *,
    reason: str,
    mark: int,
    now: datetime,
) -> Closed:
    """By the customer, in mid-attempt or between two: what was delivered until now is charged."""
    answer = world.answers.own(job.id)
    ended = None
    if attempt is not None and not attempt.finished:
        # Now, so that nothing more is accepted of it than is settled below.
        world.relay.close(attempt.island_id, job.id, attempt.epoch)
        first = attempt.first_position
        accepted = Position(max(mark, first, _accepted(answer, attempt)))
        heard = _heard(answer, job, accepted - first)
        ended = attempt.cancel(now, reason, accepted, heard)
        await tx.attempts.save(ended, was=attempt)
    attempts = await tx.attempts.of_job(job.id) if job.epoch else []
    prompt_tokens = prompt_tokens_of(attempts, job.prompt_tokens_max)
    charged = await pay.settle(
        world,
        tx,
        job,
        await price_of(world, tx, job),
        attempts,
        prompt_tokens=prompt_tokens,
        output_items=mark or None,
        now=now,
    )
    done = job.cancel(
        now,
        reason=reason,
        delivered=mark,
        prompt_tokens=prompt_tokens if mark else 0,
        texts=answer.texts[:mark] if answer else (),
        charged=charged,
    )
    await tx.jobs.save(done, was=job)
    return Closed(done, ended)


async def end_attempt(
    world: World,
    tx: Tx,
    job: Job,
    attempt: Attempt,
    *,
    cause: Cause,
    reason: str,
    now: datetime,
    next_position: int | None = None,
    usage: Usage | None = None,
    report: bytes | None = None,
) -> Closed:
    """The current attempt ended too early: another Island goes on, or the job fails and costs nothing.

    The answer is known here: this process is the job's home.
    """
    # Now, so that nothing more is accepted of it than is settled below.
    world.relay.close(attempt.island_id, job.id, attempt.epoch)
    answer = world.answers.own(job.id)
    assert answer is not None
    handed_out = _handed_out(job, answer, attempt)
    before = await tx.attempts.of_job(job.id)
    tries = sum(1 for a in before if a.status is not AttemptStatus.REFUSED)
    begin = await _next_begin(world, tx, job, attempt, answer, cause, handed_out)
    wait_s = world.policy.queue_wait_s(job.interactive)
    if handed_out and not _somebody_else(world, job, [*before, attempt]):
        # A reader in mid-answer is not kept waiting for long, nor at all where there is nobody to hope for.
        wait_s = world.policy.return_wait_s
        if cause not in COMING_BACK or world.fleet.get(attempt.island_id) is None:
            begin = None
    again = begin is not None and job.may_try_again(cause, tries=tries)
    accepted = begin if again and begin is not None else max(answer.next, next_position or 0)
    at = Position(max(accepted, attempt.first_position))
    heard = _heard(answer, job, at - attempt.first_position, usage)
    if cause is Cause.LEASE_LOST:
        ended = attempt.lose(now, reason, at, heard)
    else:
        ended = attempt.fail(now, cause, reason, at, heard, report)
    await tx.attempts.save(ended, was=attempt)
    if again:
        await tx.items.forget(job.id, since=at)
        await tx.items.keep(world.home, [said_since_stored(answer, until=at)])
        until = now + timedelta(seconds=wait_s)
        waiting = job.requeue(attempt.epoch, reason, until)
        await tx.jobs.save(waiting, was=job)
        return Closed(waiting, ended)
    closed = await fail(world, tx, job, cause=cause, error=reason, now=now, delivered=handed_out)
    return replace(closed, attempt=ended)


def said_since_stored(answer: Answer, *, until: int | None = None) -> Said:
    """What PostgreSQL does not have yet, up to a position."""
    until = answer.next if until is None else until
    first = min(answer.stored, until)
    items = Items(first, tuple(answer.texts[first:until]), tuple(answer.tokens[first:until]))
    return Said(answer.job_id, answer.epoch, items)


async def _next_begin(
    world: World,
    tx: Tx,
    job: Job,
    attempt: Attempt,
    answer: Answer,
    cause: Cause,
    handed_out: int,
) -> int | None:
    """The position at which another Island may go on; None where nobody can, because a reader was given what would
    have to be taken back."""
    if not await is_resumable(world, tx, job):
        if job.read_at is not None and attempt.relay != world.home:
            return None  # Its first home may have handed out what was neither stored nor is in the stream any more.
        begin = 0
    elif cause is Cause.BAD_OUTPUT:
        begin = int(attempt.first_position)  # Of who broke the protocol nothing is built upon.
    else:
        return answer.next
    return begin if handed_out <= begin else None


def _handed_out(job: Job, answer: Answer, attempt: Attempt) -> int:
    """One past the highest position that any reader may have been given, here or elsewhere."""
    read = job.read_at is not None and (answer.recalled or job.read_at >= attempt.assigned_at)
    handed_out = max(answer.handed_out, answer.next if read else 0)
    # Of a job that nobody waits for, the mark says what can be read later, not what was.
    return max(handed_out, job.delivered) if job.interactive else handed_out


async def fail(
    world: World, tx: Tx, job: Job, *, cause: Cause, error: str, now: datetime, delivered: int = 0
) -> Closed:
    """The job fails: the user pays nothing; Islands keep the pay for accepted positions, from the insurance."""
    attempts = await tx.attempts.of_job(job.id) if job.epoch else []
    await pay.settle(
        world,
        tx,
        job,
        await price_of(world, tx, job),
        attempts,
        prompt_tokens=prompt_tokens_of(attempts, job.prompt_tokens_max),
        output_items=None,
        now=now,
    )
    failed = job.fail(now, cause, error, delivered=delivered)
    await tx.jobs.save(failed, was=job)
    return Closed(failed)


async def announce(world: World, closed: Closed) -> None:
    """After commit: the slot is free, the relay lets go, and whoever reads is told."""
    job, attempt = closed.job, closed.attempt
    world.tally.ended(job, attempt)
    if attempt is not None:
        world.relay.close(attempt.island_id, attempt.job_id, attempt.epoch)
        world.fleet.freed(attempt.island_id, (attempt.job_id, attempt.epoch))
        world.forecast.lines.let_go(line_of(job))
        if not job.finished:
            world.forecast.lines.joined(line_of(job), job.created_at)
    elif job.finished:
        world.forecast.lines.left(line_of(job))
    answer = world.answers.own(job.id)
    if attempt is not None:
        learn(world, job, attempt, answer)
    if job.finished:
        if answer is not None:
            cached = min(answer.cached_tokens, job.prompt_tokens)
            world.tally.cached_tokens[job.cargo_slug] += cached
        if answer is not None and job.status is JobStatus.SUCCEEDED:
            waited = (answer.first_item_at or answer.opened_at) - answer.opened_at
            world.tally.answered(answer, world.traces.example(job.id, waited))
        finish_answer(world, job)
    elif answer is not None and answer.epoch == job.epoch and not answer.interrupted:
        answer.interrupt()
        assert attempt is not None
        if not await begin_at(world, job, answer, attempt.next_position):
            return
        answer.wait(job.waiting_for)
    if answer is not None:
        world.tally.flowed((answer,))
    world.nudge()


async def begin_at(world: World, job: Job, answer: Answer, position: int) -> bool:
    """The next attempt goes on at this position: forgets what was said after it. False when a reader was given some of
    that in the meantime: then the job, which nobody can continue, has failed after all."""
    if answer.next <= position or answer.handed_out <= position:
        answer.cut_back(position)
        return True
    now = world.clock.now()
    async with world.store.begin() as tx:
        queued = await tx.jobs.lock(job.id)
        if queued is None or queued.status is not JobStatus.QUEUED:
            return False
        error = "; ".join(queued.waiting_for) or "the attempt ended too early"
        cause = Cause.ISLAND_STOPPED
        closed = await fail(
            world, tx, queued, cause=cause, error=error, now=now, delivered=answer.handed_out
        )
    await announce(world, closed)
    return False


def finish_answer(world: World, job: Job) -> None:
    """Ends what this process has of the answer, be it a copy, with what the settled job says."""
    answer = world.answers.get(job.id)
    if answer is None:
        return
    if answer.island_id is not None:
        world.relay.close(answer.island_id, job.id, answer.epoch)
    if job.status is JobStatus.SUCCEEDED and answer.next < job.output_items:
        answer.load(job.items())
    answer.finish(ending_of(job, answer.cached_tokens))


def ending_of(job: Job, cached_tokens: int = 0) -> Ending:
    """What a reader is told of a finished job. What was cached is known to who relayed its beginning."""
    assert job.finished and job.cause is not None
    return Ending(
        cause=job.cause,
        finish_reason=job.finish_reason,
        error=job.error,
        usage=Usage(prompt_tokens=job.prompt_tokens, output_items=job.output_items),
        cached_tokens=min(cached_tokens, job.prompt_tokens),
        charged=job.charged,
        status=job.status.value,
        reasons=tuple(job.error.split("; ")) if job.cause is Cause.NO_CAPACITY else (),
    )


async def is_resumable(world: World, tx: Tx, job: Job) -> bool:
    """Whether another Island may continue at the next position."""
    return (await cargo_of(world, tx, job)).manifest.resumable


def _somebody_else(world: World, job: Job, attempts: Sequence[Attempt]) -> bool:
    """Whether an Island that has not yet lost this job has this very Cargo, be it busy or still loading."""
    lost = {attempt.island_id for attempt in attempts}
    # The last one still runs: whoever goes on continues what it said, if it said anything.
    *before, last = attempts
    answer = world.answers.own(job.id)
    said = answer is not None and answer.next > last.first_position
    needed = last.determinism_class if said else class_to_continue(before)
    needed = needed if world.policy.same_class_only else ""
    return any(
        island.approved
        and island.status == "ready"
        and island.digest == job.cargo_digest
        and needed in ("", island.determinism_class)
        for island in world.fleet.each(job.cargo_slug, job.cargo_digest)
        if island.island_id not in lost
    )


async def current_attempt(tx: Tx, job: Job) -> Attempt | None:
    return await tx.attempts.get(job.id, job.epoch) if job.epoch else None


def mark_of(world: World, job: Job) -> int:
    """The position up to which a customer who cancels now pays: what was written to the reader, or, where nobody
    waits, what was accepted and can be read at `output`."""
    answer = world.answers.own(job.id)
    # What was delivered elsewhere may not have come here yet, as while a new home reads what was said before it.
    return max(job.delivered, answer.mark) if answer else job.delivered


def is_left(world: World, answer: Answer) -> bool:
    """Whether its last reader has been away for longer than the grace."""
    if not answer.interactive or answer.follows or answer.goes_on_unread:
        return False
    if answer.final is not None or answer.left_at is None:
        return False
    now = world.clock.monotonic()
    grace_s = world.policy.orphan_grace_s if answer.orphaned else world.policy.reader_grace_s
    # One who came back elsewhere while the store was away could not be noted.
    return min(now - answer.left_at, world.footing.firm_for_s(now)) > grace_s


def is_read_again(world: World, job_id: JobId) -> bool:
    """Whether a reader came back while somebody waited for the lock of a job that was left."""
    answer = world.answers.own(job_id)
    if answer is None or (answer.readers == 0 and answer.left_at is None):
        return False
    return not is_left(world, answer)


def _accepted(answer: Answer | None, attempt: Attempt) -> int:
    """Up to where this attempt's output was accepted, as far as this process knows."""
    return answer.next if answer is not None and answer.epoch == attempt.epoch else 0


def _heard(answer: Answer | None, job: Job, positions: int, said: Usage | None = None) -> Usage:
    """What an attempt used: as its Island reported, or, where that was killed and forgot, as was heard of it here."""
    heard = max(job.prompt_tokens, answer.prompt_tokens if answer else 0) if positions else 0
    if said is None:
        return _bounded(Usage(prompt_tokens=heard, output_items=positions), job)
    return _bounded(replace(said, prompt_tokens=said.prompt_tokens or heard), job)


def _bounded(usage: Usage, job: Job) -> Usage:
    """No Island is believed more of the prompt than was reserved for."""
    return replace(usage, prompt_tokens=max(0, min(usage.prompt_tokens, job.prompt_tokens_max)))
