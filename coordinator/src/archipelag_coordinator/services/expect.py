"""How long a job would wait, whether that is too long, and who is before it. Common ground of the verbs."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.lines import Kept, LineKey
from archipelag_coordinator.domain.waits import Rooms, Wait
from archipelag_coordinator.errors import InvalidInput, Overloaded
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

LINES_MAX: Final = 10_000
HELD_MAX: Final = 2_000
"""Jobs that a new process learns from."""
RETRY_LEAST_S: Final = 1.0
IN_LINE: Final = "others wait for the same slots: it is given one in its turn"
PLACE: Final = "X-Archipelag-Place"
"""The header that names a place in line, given with the time to come back and shown then."""
WITHIN: Final = "X-Archipelag-Within"
"""The header in which a customer says within how many seconds an answer is of use."""


def line_of(job: Job) -> LineKey:
    return LineKey(job.user_id, job.cargo_digest)


async def read_lines(world: World) -> None:
    """What everybody waits for as the store has it, every Coordinator's; the first time, how long jobs took as well."""
    forecast = world.forecast
    async with world.store.begin() as tx:
        lines = await tx.lines.all(LINES_MAX)
        held = [] if forecast.remembers else await tx.lines.held_lately(HELD_MAX)
    forecast.lines.load(lines)
    forecast.slot_times.remember(held)
    forecast.remembers = True
    forecast.kept.sweep(world.clock.monotonic())
    if world.place_tokens is not None:
        world.place_tokens.sweep(world.clock.now())


def rooms(world: World) -> Rooms:
    """The slots as of a moment ago; counting them anew reads the whole catalogue and fleet."""

    def count() -> Rooms:
        prices = {cargo.digest: cargo.manifest.price for cargo in world.catalogue.cargos}
        return world.fleet.rooms(prices)

    return world.forecast.rooms(count, len(world.fleet), world.clock.monotonic())


def others_first(world: World, job: Job, *, joined: bool = False) -> bool:
    """Whether somebody waits whose turn is before that of a job that comes now, or that has just `joined` its line."""
    lines, key = world.forecast.lines, line_of(job)
    before = max(0, lines.get(key).queued - joined)
    return lines.waits() and world.forecast.wait(key, rooms(world), before=before).ahead > 0


def may_have_room(world: World, job: Job) -> bool:
    """Whether a slot that the job could have is free."""
    return rooms(world).free.get(job.cargo_digest, 0) > 0


async def wait_of(world: World, tx: Tx, job: Job) -> Wait:
    """Of a job that waits."""
    before = await tx.lines.before(job)
    return world.forecast.wait(line_of(job), rooms(world), before=before, since=job.created_at)


def check_wait(world: World, job: Job, place: str | None = None) -> None:
    """Before a job that found no slot is put in line. Whoever comes back at the time that they were told finds a place,
    here or, by the `place` that they were given, at another Coordinator; whoever comes now stands behind those.
    Raises Overloaded.
    """
    forecast, key, now = world.forecast, line_of(job), world.clock.monotonic()
    slots, target_s = rooms(world), _target_s(world, job)
    told_here = forecast.kept.time_of(key, job.request_hash)
    told = _told_elsewhere(world, job, place) if told_here is None else told_here
    came_back = told is not None and told <= now
    forecast.kept.ripen(now)
    wait = forecast.wait(key, slots, kept=Kept.NOBODY if came_back else Kept.DUE)
    if wait.seconds is None or wait.seconds <= (_limit_s(world, job) if came_back else target_s):
        _give_up(world, job, told)
        return
    if told is None or came_back:
        _give_up(world, job, told)
        later = forecast.wait(key, slots, kept=Kept.TOLD)
        assert later.seconds is not None, "what was known a moment ago is known still"
        too_long_s = max(RETRY_LEAST_S, later.seconds - target_s)
        chance = world.ids.chance()
        after_s = forecast.kept.keep(key, job.request_hash, too_long_s, chance, now)
        place = _place_of(world, job)
    else:
        after_s = told - now
        place = place if told_here is None else _place_of(world, job)
    raise Overloaded(wait.seconds, target_s, after_s, wait.ahead, place)


def _told_elsewhere(world: World, job: Job, place: str | None) -> float | None:
    """When another Coordinator told this request to come back, by our clock."""
    if place is None or world.place_tokens is None:
        return None
    now = world.clock.now()
    told = world.place_tokens.time_of(place, line_of(job), job.request_hash, now)
    return None if told is None else world.clock.monotonic() + (told - now).total_seconds()


def _place_of(world: World, job: Job) -> str | None:
    """What it shows on coming back; None where no place is kept for it."""
    told = world.forecast.kept.time_of(line_of(job), job.request_hash)
    if told is None or world.place_tokens is None:
        return None
    return world.place_tokens.make(line_of(job), job.request_hash, _at(world, told))


def _give_up(world: World, job: Job, told: float | None) -> None:
    """The place of this request, if it had one, is used up."""
    world.forecast.kept.give_up(line_of(job), job.request_hash)
    if told is not None and world.place_tokens is not None:
        world.place_tokens.spend(line_of(job), job.request_hash, _at(world, told))


def _at(world: World, told: float) -> datetime:
    return world.clock.now() + timedelta(seconds=told - world.clock.monotonic())


def _target_s(world: World, job: Job) -> float:
    return min(world.policy.wait_target_s(job.interactive), _time_left_s(world, job))


def _limit_s(world: World, job: Job) -> float:
    """Who was promised a place is not sent away again because others took a little longer than was reckoned."""
    policy = world.policy
    halfway_s = (policy.wait_target_s(job.interactive) + policy.queue_wait_s(job.interactive)) / 2
    return min(halfway_s, _time_left_s(world, job))


def check_time(world: World, job: Job) -> None:
    """Raises InvalidInput where its customer wants it sooner than it could be done if a slot were free."""
    if is_too_late(world, job):
        quick_s = world.forecast.slot_times.quick_s(job.cargo_digest)
        told = f"is too short: hardly a job of this Cargo takes less than {quick_s:.1f} s"
        raise InvalidInput({WITHIN: [told]})


def is_too_late(world: World, job: Job) -> bool:
    """Whether a job that has no slot cannot be done by when its customer wants it (any more)."""
    return _time_left_s(world, job) <= 0


def _time_left_s(world: World, job: Job) -> float:
    """How long the job can wait and still be done by when its customer wants it."""
    if job.due_at is None:
        return math.inf
    quick_s = world.forecast.slot_times.quick_s(job.cargo_digest)
    return (job.due_at - world.clock.now()).total_seconds() - quick_s
