"""What runs how often."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from archipelag_contracts.ids import Epoch, JobId

from archipelag_coordinator.apps.loops.batches import work_on_batches
from archipelag_coordinator.apps.loops.runner import Loop
from archipelag_coordinator.apps.loops.together import side_by_side
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services import adopt, upkeep
from archipelag_coordinator.services.cancel import leave
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_coordinator.services.expect import read_lines
from archipelag_coordinator.services.failover import abandon, expire_job, expire_lease, failover
from archipelag_coordinator.services.follow import keep_up
from archipelag_coordinator.services.list_cargos import list_cargos
from archipelag_coordinator.services.note_history import note_history
from archipelag_coordinator.services.recommend import recommend
from archipelag_coordinator.services.regions import reach_regions
from archipelag_coordinator.services.settled import settled
from archipelag_coordinator.services.suspend import enforce
from archipelag_coordinator.services.tell_waits import tell_waits
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 100
UNKNOWN_MAX: Final = 10_000


async def dispatch_waiting(world: World) -> None:
    """Queued jobs as they have their turn, as long as somebody takes them."""

    async def one(job_id: JobId) -> None:
        answer = world.answers.get(job_id)
        if answer is not None and answer.epoch and not answer.interrupted:
            await settled(world, job_id)  # The word of it was lost on the way.
        await dispatch(world, job_id)

    await side_by_side(await upkeep.waiting_jobs(world, AT_ONCE_MAX), one)


async def end_overdue(world: World) -> None:
    async def one(job_id: JobId) -> None:
        job = await expire_job(world, job_id)
        if job is not None:
            log.info("job_overdue job=%s cause=%s", job.id, job.cause)

    await side_by_side(await upkeep.overdue_jobs(world, AT_ONCE_MAX), one)


async def break_leases(world: World) -> None:
    async def one(key: tuple[JobId, Epoch]) -> None:
        if await expire_lease(world, *key) is not None:
            log.warning("lease_lost job=%s epoch=%s", *key)

    await side_by_side(await upkeep.expired_leases(world, AT_ONCE_MAX), one)


async def watch_silence(world: World) -> None:
    if not upkeep.silent_streams(world) or not await world.relay.hears():
        return  # Deaf ourselves, we know nothing of them.

    async def one(silent: upkeep.Silent) -> None:
        log.warning("stream_silent job=%s epoch=%s", silent.job_id, silent.epoch)
        reason = f"the Island was not heard from for {silent.for_s:.1f} s"
        await failover(world, silent.job_id, silent.epoch, Cause.LEASE_LOST, reason)

    # What was held up on the line has been heard before the broker's answer: look again.
    await side_by_side(upkeep.silent_streams(world), one)


async def cancel_left(world: World) -> None:
    async def one(job_id: JobId) -> None:
        if await upkeep.is_read_elsewhere(world, job_id):
            return
        if upkeep.is_orphaned(world, job_id):
            log.warning("job_orphaned job=%s", job_id)
            await abandon(world, job_id)
        else:
            log.info("job_left job=%s", job_id)
            await leave(world, job_id)

    await side_by_side(upkeep.left_jobs(world), one)
    upkeep.drop_old_answers(world)


async def watch_islands(world: World) -> None:
    for island in await upkeep.watch_islands(world):
        log.warning("island_lost island=%s", island)


async def keep_place(world: World) -> None:
    if world.bus.connected:
        await world.relay.keep_place()


async def take_over(world: World) -> None:
    """Jobs of Coordinators that have not been heard from go on here."""
    while taken := await upkeep.adopt(world, adopt.AT_ONCE_MAX):
        note_adopted(taken)
        await adopt.take_up_all(world, taken)


async def take_up_unknown(world: World) -> None:
    await adopt.take_up_all(world, await upkeep.unknown_jobs(world, UNKNOWN_MAX))


async def adopt_read(world: World) -> None:
    """Whoever reads here a job whose Coordinator is gone need not wait until everybody has noticed."""
    note_adopted(await adopt.adopt_read(world))


def note_adopted(jobs: Sequence[JobId]) -> None:
    for job_id in jobs:
        log.warning("job_adopted job=%s", job_id)


async def catch_up(world: World) -> None:
    """What another process settled, where its word of it was lost: nobody reads on for ever."""

    async def one(job_id: JobId) -> None:
        await settled(world, job_id)

    await side_by_side(await upkeep.settled_elsewhere(world), one)


async def save_beats(world: World) -> None:
    await upkeep.save_beats(world)


async def save_marks(world: World) -> None:
    await upkeep.save_marks(world)


TABLE: Final = (
    Loop("dispatch_waiting", 0.5, dispatch_waiting, nudged=True),
    Loop("work_on_batches", 2.0, work_on_batches, nudged=True, least_s=0.25),
    Loop("watch_silence", 0.25, watch_silence),
    Loop("cancel_left", 0.5, cancel_left),
    Loop("catch_up", 2.0, catch_up, to_the_end=True),
    Loop("keep_up", 0.5, keep_up, to_the_end=True),
    Loop("keep_place", 2.0, keep_place),
    Loop("adopt_read", 0.5, adopt_read),
    Loop("take_up", 5.0, take_up_unknown),
    Loop("save_beats", 1.0, save_beats, to_the_end=True),
    Loop("save_marks", 1.0, save_marks, to_the_end=True),
    Loop("beat", 2.0, upkeep.beat),
    Loop("load_fleet", 2.0, upkeep.load_fleet, to_the_end=True),
    Loop("load_catalogue", 1.0, list_cargos),
    Loop("reach_regions", 2.0, reach_regions),
    Loop("recommend", 10.0, recommend),
    Loop("read_lines", 1.0, read_lines),
    Loop("tell_waits", 5.0, tell_waits),
    Loop("note_history", 10.0, note_history),
    Loop("enforce_broker", 2.0, enforce),
    Loop("end_overdue", 0.5, end_overdue),
    Loop("break_leases", 1.0, break_leases),
    Loop("watch_islands", 5.0, watch_islands, settled_only=True),
    Loop("take_over", 2.0, take_over, settled_only=True),
)
