"""Takes an Island's report of an attempt and settles it: states, money and output in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.signing import chain

from archipelag_coordinator.domain.attempt import Attempt, Cause, Usage
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import StaleAttempt
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.ending import Closed
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World


@dataclass(frozen=True)
class ReportIn:
    """A report, decoded, its signature and its sender checked. `raw` are the signed bytes as they came."""

    island_id: IslandId
    job_id: JobId
    epoch: Epoch
    cargo_digest: str
    cause: Cause
    finish_reason: str
    error: str
    first_position: int
    next_position: int
    usage: Usage
    input_sha256: bytes
    output_chain: bytes
    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    raw: bytes


async def track(world: World, report: ReportIn) -> Job:
    """Settles the attempt and returns the job. The same report twice changes nothing.

    Raises StaleAttempt when the attempt is not this Island's or no longer the current one: it is not paid.
    """
    async with world.store.begin() as tx:
        job = await tx.jobs.lock(report.job_id)
        attempt = await tx.attempts.get(report.job_id, report.epoch)
        if job is None or attempt is None or attempt.island_id != report.island_id:
            raise StaleAttempt(report.job_id, report.epoch)
        if attempt.finished and attempt.report == report.raw:
            return job
        job.check_current(report.epoch)
        report = _shown(world, report)
        closed = await _settle(world, tx, job, attempt, report)
    await ending.announce(world, closed)
    return closed.job


async def home_of(world: World, job_id: JobId) -> RelayId | None:
    """The other process that relays this job; None where it is this one, or nobody does any more."""
    if world.answers.get(job_id) is not None:
        return None
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    return None if job is None or job.finished or job.home == world.home else job.home


async def _settle(world: World, tx: Tx, job: Job, attempt: Attempt, report: ReportIn) -> Closed:
    now = world.clock.now()
    lie = _lie(world, job, attempt, report)
    if lie is not None:
        return await ending.end_attempt(
            world, tx, job, attempt, cause=Cause.BAD_OUTPUT, reason=lie, now=now, report=report.raw
        )
    if report.cause is Cause.COMPLETED:
        return await ending.succeed(
            world,
            tx,
            job,
            attempt,
            output=_before(world, job, attempt) + "".join(report.texts),
            finish_reason=report.finish_reason
            if report.finish_reason in ("stop", "length")
            else "stop",
            output_items=report.next_position,
            usage=report.usage,
            report=report.raw,
            now=now,
        )
    # An Island that says it was cancelled, when nobody here cancelled, has stopped of its own accord.
    cause = Cause.ISLAND_STOPPED if report.cause is Cause.CANCELLED else report.cause
    return await ending.end_attempt(
        world,
        tx,
        job,
        attempt,
        cause=cause,
        reason=report.error or _words(cause),
        now=now,
        next_position=report.next_position,
        usage=report.usage,
        report=report.raw,
    )


def _shown(world: World, report: ReportIn) -> ReportIn:
    """An answer over a report's bound is not in it; it was streamed here, and the report's chain proves it."""
    answer = world.answers.get(report.job_id)
    if report.texts or answer is None or answer.epoch != report.epoch:
        return report
    if not report.first_position < report.next_position == answer.next:
        return report
    texts, tokens = answer.texts[report.first_position :], answer.tokens[report.first_position :]
    return replace(report, texts=tuple(texts), tokens=tuple(tokens))


def _lie(world: World, job: Job, attempt: Attempt, report: ReportIn) -> str | None:
    """What is wrong with a report: it must prove every position it claims, and say what was streamed."""
    count = report.next_position - report.first_position
    if report.cargo_digest != job.cargo_digest:
        return "the report names another Cargo"
    if report.first_position != attempt.first_position or count < 0:
        return "the report claims positions that are not this attempt's"
    if report.next_position > job.output_items_max:
        return "the report claims more items than were allowed"
    if len(report.texts) != count or len(report.tokens) not in (0, count):
        return "the report claims items that it does not show"
    tokens = report.tokens or (0,) * count
    if chain(zip(report.texts, tokens, strict=True)) != report.output_chain:
        return "the report's items do not match its hash chain"
    answer = world.answers.get(job.id)
    if answer is not None and answer.epoch == report.epoch:
        streamed = tuple(answer.texts[report.first_position :])
        if report.cause is not Cause.COMPLETED:
            # An Island that was killed has forgotten what it said; what it does show must still be true.
            streamed = streamed[:count]
        if streamed != report.texts[: len(streamed)]:
            return "the report shows other items than were streamed"
    return None


def _before(world: World, job: Job, attempt: Attempt) -> str:
    """What earlier attempts contributed to the answer that this one continued."""
    answer = world.answers.get(job.id)
    if answer is not None:
        return "".join(answer.texts[: attempt.first_position])
    return (job.output or "") if attempt.first_position else ""


def _words(cause: Cause) -> str:
    return {
        Cause.CARGO_FAILED: "the Cargo failed",
        Cause.CARGO_DIED: "the Cargo's process died",
        Cause.CARGO_STALLED: "the Cargo made no progress within its limit",
        Cause.LIMIT_EXCEEDED: "the Cargo went over its limits",
        Cause.BAD_INPUT: "the Cargo could not accept this input",
        Cause.ISLAND_STOPPED: "the Island stopped",
        Cause.DEADLINE: "the time for this job ran out on the Island",
    }.get(cause, f"the attempt ended: {cause.value}")
