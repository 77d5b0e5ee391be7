"""What a job needs of an Island at this moment, for whoever places it and whoever explains why it waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from archipelag_contracts.ids import IslandId
from archipelag_contracts.manifest import Price

from archipelag_coordinator.domain.attempt import (
    GIVEN_AGAIN,
    Attempt,
    AttemptStatus,
    Cause,
    class_to_continue,
)
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.domain.placement import Wanted
from archipelag_coordinator.domain.prefixes import Prefix
from archipelag_coordinator.services.world import World

NO_SLOT: Final = "no_slot"
"""So begins what an Island says that is full."""
AVOID_S: Final = 1.0
"""An Island that just said no, or stopped, is not asked again at once."""


def wanted_of(
    world: World,
    job: Job,
    attempts: Sequence[Attempt],
    *,
    continues: bool,
    prefixes: tuple[Prefix, ...] = (),
) -> Wanted:
    """`continues`: there is an answer to go on with. `prefixes`: of its prompt, which an Island may hold."""
    return Wanted(
        slug=job.cargo_slug,
        digest=job.cargo_digest,
        prompt_tokens=job.prompt_tokens_max,
        output_items=job.output_items_max,
        avoid=_to_avoid(world, attempts),
        lost=frozenset(a.island_id for a in attempts if a.cause in GIVEN_AGAIN),
        determinism_class=class_to_continue(attempts) if continues else "",
        same_class_only=world.policy.same_class_only,
        price=price_of(world, job.cargo_digest),
        prefixes=prefixes,
    )


def price_of(world: World, digest: str) -> Price | None:
    """None for a Cargo that is not listed (any more): what was begun at its price goes on."""
    cargo = world.catalogue.by_digest(digest)
    return cargo.manifest.price if cargo else None


def _to_avoid(world: World, attempts: Sequence[Attempt]) -> frozenset[IslandId]:
    lately = world.clock.now() - timedelta(seconds=AVOID_S)
    return frozenset(a.island_id for a in attempts if _is_avoided(a, lately))


def _is_avoided(attempt: Attempt, lately: datetime) -> bool:
    if attempt.status is AttemptStatus.REFUSED and attempt.reason.startswith(NO_SLOT):
        return False  # The fleet knows of that; whoever has waited longest is the first to have its next slot.
    if attempt.status is AttemptStatus.REFUSED or attempt.cause is Cause.ISLAND_STOPPED:
        return (attempt.ended_at or lately) > lately
    return attempt.cause not in GIVEN_AGAIN
