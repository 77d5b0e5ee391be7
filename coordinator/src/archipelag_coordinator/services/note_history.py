"""Notes what this process did and holds, so that its last hour can be looked at without anything beside it."""

from __future__ import annotations

from archipelag_coordinator.domain.history import Counts, Levels
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.services.world import World


async def note_history(world: World) -> None:
    """Called some times a minute."""
    world.history.note(world.clock.now(), _counts(world), _levels(world))


def _counts(world: World) -> Counts:
    tally = world.tally

    def ended(wanted: JobStatus) -> int:
        return sum(count for (_, status, _), count in tally.jobs.items() if status == wanted)

    return Counts(
        submitted=tally.submitted.total(),
        succeeded=ended(JobStatus.SUCCEEDED),
        failed=ended(JobStatus.FAILED),
        refused=tally.refused.total(),
        items=tally.items.total(),
        failovers=tally.failovers,
        answers=tally.first_item.count,
        first_item_s=tally.first_item.sum_s,
    )


def _levels(world: World) -> Levels:
    running = waiting = 0
    for answer in world.answers.all():
        if answer.final is None and not answer.follows:
            running += answer.running
            waiting += not answer.running
    busy = sum(world.fleet.busy(island.id) for island in world.fleet.islands())
    return Levels(streams=running, waiting=waiting, slots_busy=busy)
