"""Takes an Island's report of an attempt and settles it: states, money and output in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from archipelag_contracts.ids import Epoch, IslandId, JobId, RelayId
from archipelag_contracts.signing import chain

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, Cause, Usage
from archipelag_coordinator.domain.items import Items
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.errors import StaleAttempt
from archipelag_coordinator.services import ending
from archipelag_coordinator.services.ending import Closed
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.recall import make_home, recall
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
        was = job.home
        job = await make_home(world, tx, job)
        answer = await recall(world, tx, job)
        report = _shown(answer, report)
        closed = await _settle(world, tx, job, attempt, answer, report)
    await ending.announce(world, closed)
    if was != world.home:
        await world.bus.ended(was, job.id)  # It may live after all, and have readers.
    return closed.job


async def home_of(world: World, job_id: JobId) -> RelayId | None:
    """The other process that relays this job; None where it is this one, or nobody does any more."""
    if world.answers.own(job_id) is not None:
        return None
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    return None if job is None or job.finished or job.home == world.home else job.home


async def _settle(
    world: World, tx: Tx, job: Job, attempt: Attempt, answer: Answer, report: ReportIn
) -> Closed:
    now = world.clock.now()
    lie = _lie(answer, job, attempt, report)
    if lie is not None:
        return await ending.end_attempt(
            world, tx, job, attempt, cause=Cause.BAD_OUTPUT, reason=lie, now=now, report=report.raw
        )
    texts = (*answer.texts[: report.first_position], *report.texts)
    if report.cause is Cause.COMPLETED:
        return await ending.succeed(
            world,
            tx,
            job,
            attempt,
            texts=texts,
            finish_reason=report.finish_reason
            if report.finish_reason in ("stop", "length")
            else "stop",
            usage=report.usage,
            report=report.raw,
            now=now,
        )
    # What did not come here on the way, the report shows and proves: another Island goes on after it.
    tokens = report.tokens or (0,) * len(report.texts)
    answer.load(Items(0, texts, (*answer.tokens[: report.first_position], *tokens)))
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


def _shown(answer: Answer, report: ReportIn) -> ReportIn:
    """An answer over a report's bound is not in it; it was streamed here, and the report's chain proves it."""
    if report.texts or answer.epoch != report.epoch:
        return report
    if not report.first_position < report.next_position == answer.next:
        return report
    texts, tokens = answer.texts[report.first_position :], answer.tokens[report.first_position :]
    return replace(report, texts=tuple(texts), tokens=tuple(tokens))


def _lie(answer: Answer, job: Job, attempt: Attempt, report: ReportIn) -> str | None:
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
    if answer.epoch == report.epoch:
        streamed = tuple(answer.texts[report.first_position :])
        if report.cause is not Cause.COMPLETED:
            # An Island that was killed has forgotten what it said; what it does show must still be true.
            streamed = streamed[:count]
        if streamed != report.texts[: len(streamed)]:
            return "the report shows other items than were streamed"
    return None


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
