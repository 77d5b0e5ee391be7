"""Ask a Cargo what it keeps of the runs that ended in it, so that heartbeats tell from where it could go on."""

from __future__ import annotations

from archipelag_island.domain.attempt import Assignment
from archipelag_island.domain.offer import Warm
from archipelag_island.errors import RuntimeFailed
from archipelag_island.services.world import World


def salt_for(world: World, assignment: Assignment) -> bytes:
    """Empty where the owner wants nothing kept."""
    return assignment.cache_salt if world.host.keep_prompts else b""


def note_ended(world: World, assignment: Assignment, warm: Warm) -> None:
    """After a run's end, whatever it was."""
    kept = assignment.prefixes if salt_for(world, assignment) else ()
    warm.beginnings.note_ended(str(assignment.key), kept)
    recollect_soon(world, warm)


def recollect_soon(world: World, warm: Warm) -> None:
    """If there is need. No heartbeat is brought forward by it."""
    if warm.beginnings.want_asking(world.clock.monotonic()):
        world.spawn(_recollect(world, warm))


async def _recollect(world: World, warm: Warm) -> None:
    """Until no run has ended meanwhile."""
    beginnings = warm.beginnings
    while beginnings.begin_asking(world.clock.monotonic()):
        kept: tuple[str, ...] = ()
        try:
            kept = (await world.runtime.describe(warm.handle)).kept_runs
        except RuntimeFailed:
            pass  # Its keeper sees to it; what cannot be heard is not announced.
        finally:
            beginnings.hear(kept, world.clock.monotonic())
