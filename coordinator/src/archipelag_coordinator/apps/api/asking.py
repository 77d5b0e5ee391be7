"""From a request to a reader of its answer: submit, dispatch, watch. Shared by the doors that make jobs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request

from archipelag_coordinator.apps.api.auth import Caller
from archipelag_coordinator.domain.cargo import Cargo
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.domain.user import Scope
from archipelag_coordinator.errors import InvalidInput
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.dispatch import Given, dispatch, place_first, unplace
from archipelag_coordinator.services.expect import PLACE, WITHIN, may_have_room
from archipelag_coordinator.services.submit import Submitted, submit
from archipelag_coordinator.services.watch import Reader, watch
from archipelag_coordinator.services.world import World

ON_DISCONNECT: Final = "X-Archipelag-On-Disconnect"
"""`continue`: the job runs to its end though nobody reads it. `cancel`, as without it: after a grace it is stopped."""

WITHIN_MAX_S: Final = 7 * 24 * 3600.0
_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_SECONDS: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
# How an answer is delivered is not part of what is asked.
_DELIVERY: Final = frozenset({"stream", "stream_options"})


@dataclass(frozen=True)
class Asked:
    """A job that stands, and a reader of its answer, to be closed by whoever has it."""

    job: Job
    cargo: Cargo
    reader: Reader


def submission_of(
    request: Request,
    caller: Caller,
    workload: str,
    given: Mapping[str, Any],
    *,
    interactive: bool,
    priority: int = 0,
) -> Submission:
    """Raises InvalidInput for headers that cannot be understood."""
    return Submission(
        user=caller.user,
        key=caller.key,
        workload=workload,
        input=given,
        interactive=interactive,
        priority=priority,
        idempotency_key=idempotency_key(request),
        retry=_is_retry(request),
        request_hash=_hash(workload, given, interactive=interactive, priority=priority),
        goes_on_unread=_goes_on_unread(request),
        within_s=_within_s(request),
        place=request.headers.get(PLACE),
    )


async def make_job(world: World, submission: Submission) -> Submitted:
    """Submit and dispatch, in one transaction where an Island is free; only what is asked for the first time."""
    first: Given | Job | None = None
    fresh = False

    def begin(job: Job, cargo: Cargo, prefixes: tuple[Prefix, ...]) -> Given | Job:
        nonlocal first
        first = place_first(world, job, cargo, prefixes)
        return first

    try:
        async with world.submitting:
            submitted = await submit(world, submission, begin)
        fresh = submitted.fresh
    finally:
        if isinstance(first, Given) and not fresh:
            unplace(world, first)
    if not fresh:
        world.answers.remember(submitted.job)
        return submitted
    given = first if isinstance(first, Given) else None
    sending = None if given is None else await _send(world, submitted, given)
    world.answers.remember(submitted.job)
    if submitted.job.waiting_for:
        # What became free in the meantime is given to whoever has the turn.
        if may_have_room(world, submitted.job):
            world.nudge()
        return submitted
    try:
        job = await (sending or dispatch(world, submitted.job.id))
    except BaseException:
        if submission.interactive:
            # The client will not learn of this job: the same as if its reader had left.
            (await watch(world, submitted.job.id)).close()
        raise
    return Submitted(job, submitted.cargo, fresh=True)


async def _send(world: World, submitted: Submitted, first: Given) -> asyncio.Task[Job]:
    """Sends the first attempt to its Island while the disk takes the job; returns once the disk has it, so that nobody
    outside is told before. Where that is not known, the job may stand or not: who looks after this Coordinator's jobs
    finds one that stands, and an Island that has one that does not is told at its next heartbeat."""
    job_id, attempt = submitted.job.id, first.attempt
    sending = asyncio.create_task(dispatch(world, job_id, first), name=f"send {job_id}")
    try:
        if submitted.on_disk is not None:
            await submitted.on_disk()
    except BaseException:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        world.relay.close(attempt.island_id, job_id, attempt.epoch)
        answer = world.answers.get(job_id)
        if answer is None or (answer.epoch <= attempt.epoch and not answer.interrupted):
            unplace(world, first)
        world.answers.drop(job_id)
        raise
    return sending


async def ask(world: World, submission: Submission) -> Asked:
    made = _asked_before(world, submission) or await make_job(world, submission)
    return Asked(made.job, made.cargo, await watch(world, made.job.id))


def _asked_before(world: World, submission: Submission) -> Submitted | None:
    """A request whose answer this process has: a reader who comes back waits neither for its turn nor for the
    database, of all moments in the one when everybody comes back."""
    if submission.idempotency_key is None:
        return None
    job = world.answers.asked(submission.user.id, submission.idempotency_key)
    cargo = None if job is None else world.catalogue.by_digest(job.cargo_digest)
    if job is None or cargo is None or job.request_hash != submission.request_hash:
        return None
    submission.key.check_scope(Scope.WRITE)
    return Submitted(job, cargo, fresh=False)


def idempotency_key(request: Request) -> str | None:
    """Raises InvalidInput for what cannot be one."""
    given = request.headers.get("idempotency-key")
    if given is not None and not _IDEMPOTENCY_KEY.fullmatch(given):
        raise InvalidInput(
            {"Idempotency-Key": ["must be 1 to 255 visible ASCII characters, without spaces"]}
        )
    return given


def _goes_on_unread(request: Request) -> bool:
    given = request.headers.get(ON_DISCONNECT, "cancel").lower()
    if given not in ("cancel", "continue"):
        raise InvalidInput({ON_DISCONNECT: ["must be cancel or continue"]})
    return given == "continue"


def _within_s(request: Request) -> float | None:
    """Raises InvalidInput for what is no time, and for none at all."""
    given = request.headers.get(WITHIN)
    if given is None:
        return None
    seconds = float(given) if _SECONDS.fullmatch(given) else 0.0
    if not 0 < seconds <= WITHIN_MAX_S:
        raise InvalidInput(
            {WITHIN: [f"must be seconds, more than 0 and at most {WITHIN_MAX_S:.0f}"]}
        )
    return seconds


def last_event_id(request: Request) -> int:
    """The position after the last event that the reader had; 0 without one. Raises InvalidInput."""
    given = request.headers.get("last-event-id", "")
    if not given:
        return 0
    if not given.isascii() or not given.isdigit() or len(given) > 12:
        raise InvalidInput({"Last-Event-ID": ["must be the id of an event of this stream"]})
    return int(given)


def _is_retry(request: Request) -> bool:
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isdigit() and count.strip("0") != ""


def _hash(workload: str, given: Mapping[str, Any], *, interactive: bool, priority: int) -> bytes:
    asked = {name: value for name, value in given.items() if name not in _DELIVERY}
    whole = json.dumps([workload, interactive, priority, asked], sort_keys=True)
    return hashlib.sha256(whole.encode()).digest()
