"""What a Coordinator does again and again: save what it heard, look for what went silent, take over from the dead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from archipelag_contracts.ids import Epoch, IslandId, JobId, Position

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import AttemptKey
from archipelag_coordinator.domain.health import COORDINATOR_DEAD_S
from archipelag_coordinator.domain.island import Island, IslandStatus
from archipelag_coordinator.domain.pacing import INTERVALS_MAX
from archipelag_coordinator.services import ending, recall
from archipelag_coordinator.services.ports import Mark
from archipelag_coordinator.services.world import World

_COUNTED_SILENT = (IslandStatus.READY, IslandStatus.DRAINING)
_MAY_BE_LATE = (*_COUNTED_SILENT, IslandStatus.SILENT)
REPORT_WAIT_S = 10.0
"""How long the report may take after the last chunk before the stream counts as silent."""
MARKS_AT_ONCE = 128
"""Answers whose news are stored in one go: a millisecond or two of the loop."""
BEATS_BACK_S = 3.0
"""An Island whose heartbeat was not answered notices it after so long, and beats again within an interval."""


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
        try:
            async with world.store.begin() as tx:
                await tx.islands.save_beats(beats)
        except BaseException:
            # An Island that was heard while nobody could write must not look unheard afterwards.
            world.fleet.put_back(beats)
            raise
    return len(beats)


async def save_marks(world: World) -> int:
    """How far readers have got and what was accepted, so that at most a second of it is lost with this process.

    A few answers at a time, each in a transaction of its own: what thousands of streams said in a second would hold up
    every one of them while it is packed.
    """
    answers = [answer for answer in world.answers.all() if _has_news(answer)]
    saved = 0
    for first in range(0, len(answers), MARKS_AT_ONCE):
        saved += await _save_some_marks(world, answers[first : first + MARKS_AT_ONCE])
    return saved


async def _save_some_marks(world: World, answers: list[Answer]) -> int:
    answers = [answer for answer in answers if _has_news(answer)]  # Some ended in the meantime.
    if not answers:
        return 0
    now = world.clock.now()
    marks = [
        Mark(
            answer.job_id,
            Position(answer.delivered if answer.follows else answer.mark),
            answer.prompt_tokens,
            now if answer.follows and answer.readers else None,
        )
        for answer in answers
    ]
    # A copy has the same items, and only the home knows which of them count.
    said = [ending.said_since_stored(answer) for answer in answers if not answer.follows]
    async with world.store.begin() as tx:
        await tx.jobs.mark_delivered(marks)
        await tx.items.keep(world.home, [one for one in said if one.items.texts])
    stored = {one.job_id: one.items.next for one in said}
    for answer, mark in zip(answers, marks, strict=True):
        answer.marked = max(answer.marked, mark.delivered)
        answer.stored = max(answer.stored, stored.get(answer.job_id, 0))
    return len(marks)


def _has_news(answer: Answer) -> bool:
    if answer.final is not None:
        return False
    if answer.follows:
        return answer.readers > 0 or answer.delivered > answer.marked
    return answer.running and (answer.mark > answer.marked or answer.next > answer.stored)


async def load_fleet(world: World) -> None:
    """What other Coordinators heard and operators decided."""
    async with world.store.begin() as tx:
        behind = world.fleet.behind(await tx.islands.glances())
        islands = await tx.islands.several(behind)
        cut_off = await tx.islands.cut_off()
    world.fleet.load(islands)
    if not cut_off:
        return
    for island in world.fleet.islands():
        if island.public_key in cut_off:
            world.fleet.forget(island.id)


async def beat(world: World) -> None:
    """This Coordinator is alive."""
    async with world.store.begin() as tx:
        await tx.coordinators.beat(world.home, world.clock.now(), world.region)
    if world.bus.connected:
        world.footing.stood(world.clock.monotonic())


async def hand_on(world: World) -> None:
    """This Coordinator stops: its jobs go to the others first, while those who read here go on reading.

    What is relayed here becomes a copy of what goes on elsewhere: an Island's output is heard by both. All that was
    said so far is stored before, so that whoever takes over need not read it again, and is told up to which place. To
    be called again at the very end, for what came in meanwhile. Raises what the store raises when it is away; the
    others then notice by themselves that this Coordinator is gone.
    """
    place = world.relay.place()
    await save_marks(world)
    async with world.store.begin() as tx:
        await tx.coordinators.leave(world.home)
    for answer in world.answers.all():
        if not answer.follows and answer.final is None:
            recall.let_go(world, answer)
    await world.bus.left(world.home, place)


def silent_streams(world: World) -> list[Silent]:
    """Attempts with a reader waiting that show no sign of life."""
    now = world.clock.monotonic()
    firm_s = world.footing.firm_for_s(now)
    found = []
    for answer in world.answers.all():
        if not answer.running or not answer.interactive or answer.final is not None:
            continue
        if answer.follows:
            continue
        limit = world.policy.stream_silence_s
        if answer.attempt_end is not None:
            # Its report cannot come or be settled while broker or store are away; it comes again afterwards. And where
            # many end at once, it may be here and wait for its turn: what ended well is not to be done again for that.
            limit = max(REPORT_WAIT_S, now - answer.heard_at - firm_s + REPORT_WAIT_S)
            limit += world.footing.behind_s(now)
        if now - answer.heard_at > limit:
            found.append(Silent(answer.job_id, answer.epoch, now - answer.heard_at))
    return found


def left_jobs(world: World) -> list[JobId]:
    """Jobs whose last reader left and did not come back within the grace."""
    return [answer.job_id for answer in world.answers.all() if ending.is_left(world, answer)]


async def is_read_elsewhere(world: World, job_id: JobId) -> bool:
    """Whether another Coordinator has a reader of it; then that one's leaving begins the grace anew."""
    answer = world.answers.own(job_id)
    async with world.store.begin() as tx:
        job = await tx.jobs.get(job_id)
    if answer is None or job is None or job.read_at is None:
        return False
    since = world.clock.now() - job.read_at
    if since > timedelta(seconds=world.policy.reader_grace_s):
        return False
    if answer.readers == 0:
        answer.left_at, answer.orphaned = world.clock.monotonic(), False
    return True


def is_orphaned(world: World, job_id: JobId) -> bool:
    """Whether its reader did not leave, but lost the Coordinator that served it."""
    answer = world.answers.own(job_id)
    return answer is not None and answer.orphaned


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


async def watch_islands(world: World) -> list[IslandId]:
    """Islands that are late become silent, then lost, which breaks their leases. Returns those lost."""
    now = world.clock.now()
    interval_s = world.policy.heartbeat_interval_s(len(world.fleet))
    late = 3 * interval_s + 5 - 3 * world.policy.heartbeat_s
    silent_after = timedelta(seconds=max(world.policy.island_silent_s, late))
    lost_after = timedelta(seconds=max(world.policy.island_lost_s, 3 * late))
    lost: list[IslandId] = []
    async with world.store.begin() as tx:
        overdue = (now - silent_after).timestamp()
        late_ones = [
            one.id
            for one in await tx.islands.glances()
            if one.seen_at < overdue and one.status in _MAY_BE_LATE
        ]
        for island in await tx.islands.several(late_ones):
            moved = _later(island, now - (island.seen_at or now), silent_after, lost_after)
            if moved is None:
                continue
            await tx.islands.save(moved)
            world.fleet.load([moved])
            if moved.status is IslandStatus.LOST:
                await tx.attempts.break_leases(island.id, now)
                lost.append(island.id)
    return lost


async def adopt(world: World, limit: int) -> list[JobId]:
    """Takes over jobs of Coordinators that died; returns them, to be taken up."""
    now = world.clock.now()
    async with world.store.begin() as tx:
        alive = await tx.coordinators.alive(now - timedelta(seconds=COORDINATOR_DEAD_S))
        return await tx.jobs.adopt(world.home, [*alive, world.home], limit)


async def unknown_jobs(world: World, limit: int) -> list[JobId]:
    """Unfinished jobs whose home this process is without knowing it: it took them over and could not go on then."""
    async with world.store.begin() as tx:
        ours = await tx.jobs.unfinished_of(world.home, limit)
    return [job_id for job_id in ours if world.answers.own(job_id) is None]


async def settled_elsewhere(world: World) -> list[JobId]:
    """Jobs that somebody reads here as if they went on, though they have ended. What has another home by now becomes
    a copy."""
    open_here = [
        answer.job_id
        for answer in world.answers.all()
        if answer.final is None and not answer.follows
    ]
    if not open_here:
        return []
    async with world.store.begin() as tx:
        standing = await tx.jobs.standing(open_here)
    for one in standing:
        answer = world.answers.own(one.job_id)
        if answer is not None and not one.finished and one.home != world.home:
            recall.let_go(world, answer)
    return [one.job_id for one in standing if one.finished]


async def waiting_jobs(world: World, limit: int) -> list[JobId]:
    """Queued jobs as they have their turn, but for those that a request is finding an Island for at this moment."""
    async with world.store.begin() as tx:
        waiting = await tx.jobs.waiting(world.home, limit)
    return [job_id for job_id in waiting if not _placing(world, job_id)]


def _placing(world: World, job_id: JobId) -> bool:
    answer = world.answers.get(job_id)
    return answer is not None and answer.placing


async def overdue_jobs(world: World, limit: int) -> list[JobId]:
    async with world.store.begin() as tx:
        return await tx.jobs.overdue(world.home, world.clock.now(), limit)


async def expired_leases(world: World, limit: int) -> list[AttemptKey]:
    """None as long as Islands may not have had the time to extend theirs since store and broker are back."""
    interval_s = world.policy.heartbeat_interval_s(len(world.fleet))
    firm_s = world.footing.firm_for_s(world.clock.monotonic())
    if not world.bus.connected or firm_s < INTERVALS_MAX * interval_s + BEATS_BACK_S:
        return []
    async with world.store.begin() as tx:
        return await tx.attempts.expired(world.home, world.clock.now(), limit)


async def prune_items(world: World, limit: int) -> int:
    """Items of jobs that have ended: their output says it all."""
    async with world.store.begin() as tx:
        return await tx.items.prune(limit)


async def expire_reservations(world: World, limit: int) -> list[JobId]:
    """Reservations whose job is over or gone: a net below the net."""
    async with world.store.begin() as tx:
        return await tx.ledger.expire(world.clock.now(), limit)


def _later(
    island: Island, unheard: timedelta, silent_after: timedelta, lost_after: timedelta
) -> Island | None:
    """The island's next state for so long a silence; None when nothing changes."""
    if island.status in _COUNTED_SILENT and unheard > silent_after:
        return island.fall_silent()
    if island.status is IslandStatus.SILENT and unheard > lost_after:
        return island.lose()
    return None


async def prune_links(world: World) -> int:
    """Forgets sign-in links that ended a day ago; until then whoever opens one is told what became of it."""
    async with world.store.begin() as tx:
        return await tx.sign_ins.prune(world.clock.now() - timedelta(days=1))
