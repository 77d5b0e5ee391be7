"""Takes a customer's request: everything checked and the upper bound reserved, in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from archipelag_contracts.ids import FileId

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.chat import ChatInput
from archipelag_coordinator.domain.file import input_of
from archipelag_coordinator.domain.file_fields import files_of
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.domain.ledger import Reservation, ReservationStatus, user_account
from archipelag_coordinator.domain.prefixes import Prefix, prefixes_of
from archipelag_coordinator.domain.user import Scope
from archipelag_coordinator.errors import (
    IdempotencyMismatch,
    IllegalMove,
    InvalidInput,
    NothingToContinue,
)
from archipelag_coordinator.services.asked import Submission, price_at_most, read_input
from archipelag_coordinator.services.expect import check_time, check_wait, line_of
from archipelag_coordinator.services.ports import OnDisk, Tx
from archipelag_coordinator.services.world import World

RESERVATION_EXTRA_S = 3600.0


class FirstAttempt(Protocol):
    """A job that has begun, and its attempt."""

    @property
    def job(self) -> Job: ...
    @property
    def attempt(self) -> Attempt: ...


Begin = Callable[[Job, Cargo, tuple[Prefix, ...]], FirstAttempt | Job]
"""Gives a job that is about to be stored to an Island, which may hold one of these beginnings of its prompt; a job: it
is queued as that."""


def _later(job: Job, _: Cargo, __: tuple[Prefix, ...]) -> Job:
    """Who asks for it dispatches it afterwards."""
    return job


@dataclass(frozen=True)
class Submitted:
    """`fresh` is false when the same request stood already: nothing was reserved again. `on_disk`: to be awaited before
    anybody outside is told of a fresh one; None: that is done."""

    job: Job
    cargo: Cargo
    fresh: bool
    on_disk: OnDisk | None = None


async def submit(world: World, submission: Submission, begin: Begin = _later) -> Submitted:
    """Reserves the upper bound of the price and queues the job, or stores it with the attempt that `begin` gives it.

    Raises NotPermitted, NotFound (the workload), InvalidInput, Unsupported, TooLarge, InsufficientCredits,
    BudgetExceeded, Overloaded (never for a batch's member), IdempotencyMismatch, NothingToContinue, IllegalMove (a
    batch's member that was submitted or dropped).
    """
    submission.key.check_scope(Scope.WRITE)
    cargo = world.catalogue.find(submission.workload)
    wanted = read_input(world, cargo, submission)
    manifest = cargo.manifest
    named = files_of(manifest.input, submission.input) if manifest.reads_files else {}
    now = world.clock.now()
    job = _job(world, submission, cargo, wanted, now)
    prefixes = _prefixes(world, job, wanted)
    begun = begin(job, cargo, prefixes)
    job, attempt = (begun, None) if isinstance(begun, Job) else (begun.job, begun.attempt)
    opened, on_disk = False, None
    try:
        async with world.store.begin() as tx:
            if submission.job_id is not None and not await tx.batches.claim(submission.job_id):
                raise IllegalMove("member of a batch", "settled", "submitted")
            before = await _same_request(world, tx, submission, now)
            if before is None and submission.continues:
                # Another answer would be glued to what the reader has.
                raise NothingToContinue(
                    "the answer that this would continue does not stand: ask again without Last-Event-ID"
                )
            if before is None:
                check_time(world, job)
            if before is None and attempt is None and submission.job_id is None:
                check_wait(world, job, submission.place)
            standing = before or await tx.jobs.add(job)
            if standing.id != job.id:
                tx.rely()  # Whoever sends it again may be answered by another process than the one that took it.
                return await _joined(tx, submission, standing, cargo)
            if attempt is not None:
                # It is sent to its Island while the disk takes it.
                on_disk = tx.ahead_of_disk()
                await tx.attempts.add(attempt)
            if named:
                await _pin(tx, job, named, now)
            await tx.ledger.reserve(
                Reservation(
                    job_id=job.id,
                    account_id=user_account(job.user_id),
                    amount=job.reserved,
                    status=ReservationStatus.PENDING,
                    created_at=now,
                    expires_at=job.deadline_at + timedelta(seconds=RESERVATION_EXTRA_S),
                )
            )
            # The account before the key, as an ending does: locked the other way round, the two could wait for each
            # other.
            if job.reserved:
                await tx.keys.reserve(submission.key.id, job.reserved)
            # Before anybody sees the job: whoever looks for jobs that this process does not know finds none.
            _open(world, job, cargo, prefixes)
            opened = True
    except BaseException:
        if opened:
            world.answers.drop(job.id)
        raise
    if attempt is None:
        world.forecast.lines.joined(line_of(job), job.created_at)
    world.demand.asked(cargo.slug, world.clock.monotonic())
    world.tally.took(cargo.slug)
    world.traces.keep(job.id)
    return Submitted(job, cargo, fresh=True, on_disk=on_disk)


def _job(
    world: World, submission: Submission, cargo: Cargo, wanted: ChatInput, now: datetime
) -> Job:
    policy = world.policy
    queue_until = now + timedelta(seconds=policy.queue_wait_s(submission.interactive))
    within_s = submission.within_s
    due_at = None if within_s is None else now + timedelta(seconds=within_s)
    deadline_at = queue_until + timedelta(seconds=cargo.manifest.limits.seconds)
    return Job(
        id=submission.job_id or world.ids.job(now),
        user_id=submission.user.id,
        key_id=submission.key.id,
        cargo_id=cargo.id,
        cargo_slug=cargo.slug,
        cargo_digest=cargo.digest,
        input=wanted.cargo_input,
        status=JobStatus.QUEUED,
        created_at=now,
        queue_until=min(queue_until, due_at or queue_until),
        deadline_at=min(deadline_at, due_at or deadline_at),
        home=world.home,
        reserved=price_at_most(cargo, wanted),
        prompt_tokens_max=wanted.prompt_tokens_max,
        output_items_max=wanted.output_items_max,
        attempts_max=policy.attempts_max,
        priority=submission.priority,
        interactive=submission.interactive,
        idempotency_key=submission.idempotency_key,
        request_hash=submission.request_hash,
        goes_on_unread=submission.goes_on_unread,
        due_at=due_at,
        trace=world.traces.carried(),
    )


def _prefixes(world: World, job: Job, wanted: ChatInput) -> tuple[Prefix, ...]:
    if not world.prompt_secret or not wanted.messages:
        return ()
    return prefixes_of(world.prompt_secret, job.user_id, job.cargo_digest, wanted.messages)


def _open(world: World, job: Job, cargo: Cargo, prefixes: tuple[Prefix, ...]) -> None:
    answer = world.answers.open(
        job.id,
        items_max=job.output_items_max,
        size_bytes_max=cargo.manifest.limits.output_bytes_max,
        now=world.clock.monotonic(),
        interactive=job.interactive,
        goes_on_unread=job.goes_on_unread,
        workload=job.cargo_slug,
        prefixes=prefixes,
    )
    answer.wait(job.waiting_for)


async def _same_request(world: World, tx: Tx, submission: Submission, now: datetime) -> Job | None:
    """The job of this very request, when it came before."""
    user = submission.user.id
    if submission.idempotency_key is not None:
        return await tx.jobs.by_idempotency_key(user, submission.idempotency_key)
    if submission.retry and submission.request_hash:
        since = now - timedelta(seconds=world.policy.retry_window_s)
        key = submission.key.id
        before = await tx.jobs.same_request(user, key, submission.request_hash, since)
        # What failed or was cancelled is asked for anew; only what runs or succeeded is joined.
        ended_badly = before is not None and before.status in (
            JobStatus.FAILED,
            JobStatus.CANCELLED,
        )
        return None if ended_badly else before
    return None


async def _pin(tx: Tx, job: Job, named: Mapping[str, FileId], now: datetime) -> None:
    """What the input names stays readable for this job. Raises InvalidInput: not there, or not the customer's."""
    errors: dict[str, list[str]] = {}
    inputs = []
    for where, file_id in sorted(named.items()):
        file = await tx.files.lock(job.user_id, file_id, now)
        if file is None:
            errors[where] = ["no such file, or not yours"]
        else:
            inputs.append(input_of(job.id, file))
    if errors:
        raise InvalidInput(errors)
    await tx.files.pin(inputs)


async def _joined(tx: Tx, submission: Submission, standing: Job, cargo: Cargo) -> Submitted:
    if standing.request_hash != submission.request_hash:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another request; use a new key for a new request"
        )
    stored = await tx.cargos.by_digest(standing.cargo_digest)
    return Submitted(standing, stored or cargo, fresh=False)
