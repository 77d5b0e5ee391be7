"""What a Coordinator does again and again: save what it heard, look for what went silent, take over from the dead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from archipelag_contracts.ids import Epoch, JobId, Position, UserId

from archipelag_coordinator.domain.fleet import AttemptKey
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.services.world import World

_COUNTED_SILENT = (IslandStatus.READY, IslandStatus.DRAINING)
REPORT_WAIT_S = 10.0
"""How long the report may take after the last chunk before the stream counts as silent."""
COORDINATOR_DEAD_S = 10.0


@dataclass(frozen=True)
class Silent:
    """An attempt that this process relays and that has not been heard from."""

    job_id: JobId
    epoch: Epoch
    for_s: float


async def save_beats(world: World) -> int:
    """Heartbeats heard since the last time, in one statement."""
    beats = world.fleet.take_beats()
    if beats:
        async with world.store.begin() as tx:
            await tx.islands.save_beats(beats)
    return len(beats)


async def save_marks(world: World) -> int:
    """How far readers have got, so that at most a second of it is lost with this process."""
    marks = [
        (answer.job_id, Position(answer.mark), answer.prompt_tokens)
        for answer in world.answers.all()
        if answer.running and answer.final is None and answer.mark
    ]
    if marks:
        async with world.store.begin() as tx:
            await tx.jobs.mark_delivered(marks)
    return len(marks)


async def load_fleet(world: World) -> None:
    """What other Coordinators heard and operators decided."""
    async with world.store.begin() as tx:
        islands = await tx.islands.all()
        cut_off = await tx.islands.cut_off()
    world.fleet.load(islands)
    for island in world.fleet.islands():
        if island.public_key in cut_off:
            world.fleet.forget(island.id)


async def load_catalogue(world: World) -> None:
    async with world.store.begin() as tx:
        listed = await tx.cargos.listed()
    if [cargo.id for cargo in listed] != [cargo.id for cargo in world.catalogue.cargos]:
        world.catalogue.load(listed)


async def beat(world: World) -> None:
    """This Coordinator is alive."""
    async with world.store.begin() as tx:
        await tx.coordinators.beat(world.home, world.clock.now())


def silent_streams(world: World) -> list[Silent]:
    """Attempts with a reader waiting that show no sign of life."""
    now = world.clock.monotonic()
    found = []
    for answer in world.answers.all():
        if not answer.running or not answer.interactive or answer.final is not None:
            continue
        limit = world.policy.stream_silence_s if answer.attempt_end is None else REPORT_WAIT_S
        if now - answer.heard_at > limit:
            found.append(Silent(answer.job_id, answer.epoch, now - answer.heard_at))
    return found


def left_jobs(world: World) -> list[JobId]:
    """Jobs whose last reader left and did not come back within the grace."""
    now = world.clock.monotonic()
    return [
        answer.job_id
        for answer in world.answers.all()
        if answer.interactive
        and answer.final is None
        and answer.left_at is not None
        and now - answer.left_at > world.policy.reader_grace_s
    ]


def drop_old_answers(world: World) -> int:
    """Finished answers are kept a while for readers who come back, then only in PostgreSQL."""
    now = world.clock.monotonic()
    old = [
        answer.job_id
        for answer in world.answers.all()
        if answer.final is not None
        and answer.readers == 0
        and now - max(answer.heard_at, answer.left_at or 0.0) > world.policy.answer_kept_s
    ]
    for job_id in old:
        world.answers.drop(job_id)
    return len(old)


async def watch_islands(world: World) -> list[AttemptKey]:
    """Islands that are late become silent, then lost. Returns the attempts whose leases that breaks."""
    now = world.clock.now()
    interval_s = world.policy.heartbeat_interval_s(len(world.fleet.islands()))
    late = 3 * interval_s + 5 - 3 * world.policy.heartbeat_s
    silent_after = timedelta(seconds=max(world.policy.island_silent_s, late))
    lost_after = timedelta(seconds=max(world.policy.island_lost_s, 3 * late))
    broken: list[AttemptKey] = []
    async with world.store.begin() as tx:
        for island in await tx.islands.all():
            moved = _later(island, now - (island.seen_at or now), silent_after, lost_after)
            if moved is None:
                continue
            await tx.islands.save(moved)
            world.fleet.load([moved])
            if moved.status is IslandStatus.LOST:
                broken += await tx.attempts.unfinished_of(island.id)
    return broken


async def adopt(world: World, limit: int) -> list[JobId]:
    """Takes over jobs of Coordinators that died. Returns those whose reader is gone with it, to be abandoned; the
    others go on: queued ones are dispatched from here, running ones end by report or lease."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        alive = await tx.coordinators.alive(now - timedelta(seconds=COORDINATOR_DEAD_S))
        taken = await tx.jobs.adopt(world.home, [*alive, world.home], limit)
        orphans = []
        for job_id in taken:
            job = await tx.jobs.get(job_id)
            if job is not None and job.interactive and not job.finished:
                orphans.append(job.id)
    if taken:
        world.nudge()
    return orphans


async def settled_elsewhere(world: World) -> list[JobId]:
    """Jobs that somebody reads here as if they went on, though they have ended."""
    open_here = [answer.job_id for answer in world.answers.all() if answer.final is None]
    if not open_here:
        return []
    async with world.store.begin() as tx:
        return await tx.jobs.ended_among(open_here)


async def waiting_jobs(world: World, limit: int) -> list[JobId]:
    """Queued jobs, oldest first, but for those that a request is finding an Island for at this moment."""
    async with world.store.begin() as tx:
        waiting = await tx.jobs.waiting(world.home, limit)
    return [job_id for job_id in waiting if not _placing(world, job_id)]


def _placing(world: World, job_id: JobId) -> bool:
    answer = world.answers.get(job_id)
    return answer is not None and answer.placing


async def overdue_jobs(world: World, limit: int) -> list[JobId]:
    async with world.store.begin() as tx:
        return await tx.jobs.overdue(world.clock.now(), limit)


async def expired_leases(world: World, limit: int) -> list[AttemptKey]:
    async with world.store.begin() as tx:
        return await tx.attempts.expired(world.clock.now(), limit)


async def expire_reservations(world: World, limit: int) -> list[JobId]:
    """Reservations whose job is over or gone: a net below the net."""
    async with world.store.begin() as tx:
        return await tx.ledger.expire(world.clock.now(), limit)


async def owner_of(world: World, job_id: JobId) -> UserId | None:
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    return None if job is None or job.finished else job.user_id


def _later(
    island: Island, unheard: timedelta, silent_after: timedelta, lost_after: timedelta
) -> Island | None:
    """The island's next state for so long a silence; None when nothing changes."""
    if island.status in _COUNTED_SILENT and unheard > silent_after:
        return island.fall_silent()
    if island.status is IslandStatus.SILENT and unheard > lost_after:
        return island.lose()
    return None
