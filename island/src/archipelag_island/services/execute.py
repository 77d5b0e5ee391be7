"""Accept an assignment or refuse it with a reason; run it, send what it makes, end it once, report it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from archipelag_island.clock import milliseconds
from archipelag_island.domain.admission import Situation, admit, room_of
from archipelag_island.domain.attempt import (
    KEEP_ALIVE,
    Assignment,
    AttemptKey,
    Cancel,
    Cause,
    Chunk,
    Ending,
    Refusal,
    RefusalCode,
    Room,
    Usage,
)
from archipelag_island.domain.offer import OfferState, Warm
from archipelag_island.domain.outputs import Outputs
from archipelag_island.domain.run import Run
from archipelag_island.errors import (
    BadInput,
    BrokerUnreachable,
    CargoDied,
    CargoFailed,
    FilesUnavailable,
    JournalFull,
    NoSlot,
    NotReady,
)
from archipelag_island.runtime import FilePart, InputFile, Progress, RunRequest
from archipelag_island.services.recollect import note_ended, salt_for
from archipelag_island.services.world import Running, World

log = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 0.5
# Items that come within this time of a chunk travel together in the next one; the first never waits.
COALESCE_S: Final = 0.005


def accept(world: World, assignment: Assignment) -> Refusal | None:
    """Starts the run and returns None, or says why not. Never waits."""
    refusal = admit(assignment, _situation(world, assignment))
    if refusal is None:
        run = _new_run(world, assignment)
        try:
            world.journal.accepted(run.key, assignment.first_position, _unfinished(world, run))
        except JournalFull as error:
            refusal = Refusal(RefusalCode.NO_MEMORY, str(error))
    if refusal is not None:
        world.now.refused += 1
        log.warning("assignment_refused job=%s reason=%s", assignment.key, refusal.reason)
        return refusal
    _end_older(world, run.key)
    running = Running(run, world.now.offers[assignment.cargo_slug])
    world.now.runs[run.key] = running
    world.spawn(_execute(world, running))
    log.info("assignment_accepted job=%s cargo=%s", run.key, assignment.cargo_slug)
    return None


def room(world: World, assignment: Assignment) -> Room:
    """The slots that are free here, as this assignment's Cargo could have them."""
    return room_of(_situation(world, assignment))


def _end_older(world: World, key: AttemptKey) -> None:
    """A newer epoch says that the older ones are over: we were cut off and did not hear of it."""
    for older in tuple(world.now.runs):
        if older.job_id == key.job_id and older.epoch < key.epoch:
            over = Ending(Cause.LEASE_LOST, error=f"epoch {key.epoch} of this job came")
            world.stop_run(older, over, silent=True)


def cancel(world: World, cancel: Cancel) -> bool:
    """Ends a run as cancelled. False: there is no such run here."""
    if cancel.island_id != world.host.island_id:
        return False
    return world.stop_run(cancel.key, Ending(Cause.CANCELLED, error=cancel.reason))


def _situation(world: World, assignment: Assignment) -> Situation:
    runs = world.now.runs.values()
    return Situation(
        island=world.host.island_id,
        now_ms=milliseconds(world.clock),
        draining=world.drained,
        slots=world.host.slots,
        running=len(runs),
        running_this_cargo=sum(r.slug == assignment.cargo_slug for r in runs),
        offer=world.now.offers.get(assignment.cargo_slug),
        epoch_seen=world.journal.epoch_seen(assignment.key.job_id),
        trouble=world.trouble,
        paused=world.now.owner.reason if world.now.owner.paused else "",
    )


def _new_run(world: World, assignment: Assignment) -> Run:
    limits = world.now.offers[assignment.cargo_slug].manifest.limits
    return Run(
        assignment,
        items_max=min(assignment.output_items_max, limits.output_items_max),
        bytes_max=min(
            assignment.output_bytes_max or limits.output_bytes_max, limits.output_bytes_max
        ),
        now=world.clock.monotonic(),
        started_at_ms=milliseconds(world.clock),
    )


def _unfinished(world: World, run: Run) -> bytes:
    """What is reported should this process die before the run ends."""
    ghost = Run(
        run.assignment,
        items_max=run.items_max,
        bytes_max=run.bytes_max,
        now=run.started,
        started_at_ms=run.started_at_ms,
    )
    ghost.end(Ending(Cause.ISLAND_STOPPED, error="the Island stopped while it ran this"))
    return world.link.seal(ghost.report(Usage(), run.started_at_ms))


async def _execute(world: World, running: Running) -> None:
    """The whole life of a run, in a task of its own."""
    key = running.run.key
    with world.traces.span("island.run", job_id=key.job_id, epoch=key.epoch, cargo=running.slug):
        await _live(world, running)


async def _live(world: World, running: Running) -> None:
    run = running.run
    if running.offer.warm is not None:
        run.begin(run.started)
    sender = asyncio.create_task(_send(world, run, running.wake))
    watch = asyncio.create_task(_watch(world, running))
    # A task of its own, so that a wish to stop ends the Cargo's work and nothing else.
    drive = asyncio.create_task(_drive(world, running))
    running.drive = drive
    if run.stop_with is not None:
        drive.cancel()
    try:
        await asyncio.wait([drive])
    finally:
        drive.cancel()
        watch.cancel()
        sender.cancel()
        await asyncio.gather(drive, watch, sender, return_exceptions=True)
    run.end(_ending_of(run, drive))
    usage = run.usage(world.clock.monotonic(), running.share, running.memory_peak_bytes)
    world.hold(run.assignment.cargo_digest).used_at = world.clock.monotonic()
    await _conclude(world, running, usage)


def _ending_of(run: Run, drive: asyncio.Task[Ending]) -> Ending:
    if not drive.cancelled() and drive.exception() is None:
        return drive.result()
    if run.stop_with is not None:
        return run.stop_with
    if drive.cancelled():
        return Ending(Cause.ISLAND_STOPPED, error="the Island stopped while it ran this")
    log.error("run_broke job=%s", run.key, exc_info=drive.exception())
    return Ending(Cause.CARGO_FAILED, error="the Island could not run this: an error of its own")


async def _drive(world: World, running: Running) -> Ending:
    """Has the Cargo started where it is not warm, and takes its events until the run ends."""
    run = running.run
    try:
        async with world.files.inputs(run.assignment) as files:
            warm = await _until_warm(world, running)
            if isinstance(warm, Ending):
                return warm
            if run.began is None:
                run.begin(world.clock.monotonic())
            warm.meter.begin(run.key, world.runtime.usage(warm.handle))
            try:
                return await _take(world, running, warm, files)
            finally:
                used = world.runtime.usage(warm.handle)
                running.share = warm.meter.end(run.key, used)
                running.memory_peak_bytes = used.memory_peak_bytes
                note_ended(world, run.assignment, warm)
    except FilesUnavailable as error:
        return Ending(Cause.ISLAND_STOPPED, error=str(error))


async def _until_warm(world: World, running: Running) -> Warm | Ending:
    """The Cargo, started for this run if need be; or how the run ends since it could not be."""
    hold = world.hold(running.run.assignment.cargo_digest)
    failures = hold.failures
    found = _found(world, running, failures)
    if found is not None:
        return found  # As nearly always: nobody has to be woken for it.
    hold.wait(running.run.key)
    world.moved()
    running.run.tell(Progress(0, 0, f"starting {running.slug}"))
    running.wake.set()
    try:
        while (found := _found(world, running, failures)) is None:
            await world.offer_moves()
        return found
    finally:
        hold.leave(running.run.key)


def _found(world: World, running: Running, failures: int) -> Warm | Ending | None:
    """The warm Cargo, or why there will be none; None: it is being started. `failures`: starts that failed before."""
    digest = running.run.assignment.cargo_digest
    offer = world.now.offers.get(running.slug)
    if offer is None or offer.digest != digest:
        return Ending(Cause.ISLAND_STOPPED, error=f"{running.slug} was stopped here")
    if offer.warm is not None:
        return offer.warm
    if world.hold(digest).failures != failures or offer.state is OfferState.FAILED:
        why = f"{running.slug} could not be started: {offer.reason}"
        return Ending(Cause.ISLAND_STOPPED, error=why)
    return None


async def _take(world: World, running: Running, warm: Warm, files: tuple[InputFile, ...]) -> Ending:
    run = running.run
    with world.traces.span("cargo.run", cargo=running.slug):
        return await _take_events(world, running, warm, _request(world, run, files))


def _request(world: World, run: Run, files: tuple[InputFile, ...]) -> RunRequest:
    a = run.assignment
    return RunRequest(
        files=files,
        run_id=str(run.key),
        input=a.input,
        first_position=a.first_position,
        resume_tokens=a.resume_tokens,
        resume_texts=a.resume_texts,
        output_items_max=run.items_max,
        traceparent=world.traces.carried(),
        cache_salt=salt_for(world, a),
    )


async def _take_events(world: World, running: Running, warm: Warm, request: RunRequest) -> Ending:
    run, wake, outputs = running.run, running.wake, Outputs()
    try:
        async with aclosing(world.runtime.run(warm.handle, request)) as events:
            async for event in events:
                if event.file is not None:
                    await _take_part(world, run, outputs, event.file)
                ending = run.take(event, world.clock.monotonic())
                wake.set()
                if ending is not None:
                    return _unless_unfinished(ending, outputs)
    except BadInput as error:
        return Ending(Cause.BAD_INPUT, error=str(error))
    except CargoDied as error:
        return Ending(Cause.CARGO_DIED, error=f"the Cargo died: {error}")
    except (NoSlot, NotReady) as error:
        # It told us it had room; that it has none is between the two of us, and another Island may do better.
        return Ending(Cause.ISLAND_STOPPED, error=f"the Cargo could not take it: {error}")
    except CargoFailed as error:
        return Ending(Cause.CARGO_FAILED, error=str(error))
    return Ending(Cause.CARGO_FAILED, error="the Cargo stopped speaking before its end")


async def _take_part(world: World, run: Run, outputs: Outputs, part: FilePart) -> None:
    """Sends one part of an output file on; the Cargo waits meanwhile. Raises CargoFailed, FilesUnavailable."""
    offset = outputs.take(part)
    if isinstance(offset, str):
        raise CargoFailed(f"the Cargo broke its protocol: {offset}")
    await world.files.send(run.key, offset, part)


def _unless_unfinished(ending: Ending, outputs: Outputs) -> Ending:
    if ending.cause is Cause.COMPLETED and outputs.unfinished:
        said = f"the Cargo ended without ending its file {outputs.unfinished}"
        return Ending(Cause.CARGO_FAILED, error=said)
    return ending


async def _send(world: World, run: Run, wake: asyncio.Event) -> None:
    """Sends what is there as soon as it is there, but at most one chunk in COALESCE_S."""
    while True:
        await wake.wait()
        wake.clear()
        while run.waiting:
            # Before the chunk is cut: a cap makes chunks later and larger, and a run that ends meanwhile loses none.
            await world.wait_room()
            if (chunk := run.flush()) is None:
                break
            await _send_chunk(world, run, chunk)
            await asyncio.sleep(COALESCE_S)


async def _watch(world: World, running: Running) -> None:
    """Says that we are alive, and ends a run whose time is up or whose Cargo has frozen."""
    run = running.run
    limits = running.offer.manifest.limits
    deadline = run.started + run.assignment.deadline_ms / 1000
    longest_s = min(limits.seconds, running.offer.choice.tier.seconds)
    while True:
        await _send_chunk(world, run, KEEP_ALIVE)
        now = world.clock.monotonic()
        if running.again_at and now >= running.again_at[0]:
            running.again_at.pop(0)
            running.say_again()
        if run.began is not None and now - run.heard > limits.progress_s:
            stalled = f"no progress for {limits.progress_s} s"
            if world.stop_run(run.key, Ending(Cause.CARGO_STALLED, error=stalled)):
                world.hold(run.assignment.cargo_digest).stalled.set()
        if now >= deadline:
            world.stop_run(run.key, Ending(Cause.DEADLINE, error="the job's deadline passed"))
        # Not while it is started for us: that is no work of its own, and the deadline bounds it.
        longest = deadline if run.began is None else run.began + longest_s
        if now >= longest:
            over = f"more than the {longest_s} s that this Cargo may take"
            world.stop_run(run.key, Ending(Cause.LIMIT_EXCEEDED, error=over))
        await asyncio.sleep(max(0.0, min(KEEP_ALIVE_S, deadline - now, longest - now)))


async def _send_chunk(world: World, run: Run, chunk: Chunk) -> None:
    try:
        await world.link.send(run.assignment.relay, run.key.job_id, run.key.epoch, chunk)
    except BrokerUnreachable:
        # The report carries the items again; the Coordinator decides whether it waits for it.
        log.warning("chunk_dropped job=%s", run.key)


async def _conclude(world: World, running: Running, usage: Usage) -> None:
    """The last chunk, the report on disk, the slot free again."""
    run = running.run
    assert run.ending is not None
    while run.behind and (chunk := run.flush()) is not None:
        await _send_chunk(world, run, chunk)
    last = run.last_chunk(usage)
    try:
        if run.silent:
            world.journal.forget(run.key)
        else:
            await _send_chunk(world, run, last)
            sealed = world.link.seal(run.report(usage, milliseconds(world.clock)))
            await world.journal.ended(run.key, run.next, sealed)
    finally:
        del world.now.runs[run.key]
    world.now.completed += run.ending.cause is Cause.COMPLETED
    world.reports_waiting.set()
    log.info(
        "run_ended job=%s cause=%s items=%d error=%s",
        run.key,
        run.ending.cause.value,
        usage.output_items,
        run.ending.error,
    )
