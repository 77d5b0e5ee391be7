"""Learns from an attempt that ended how long its Island took to the first item, for those that come after."""

from __future__ import annotations

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.world import World


def learn(world: World, job: Job, attempt: Attempt, answer: Answer | None) -> None:
    """Only from what this process heard itself of an answer's beginning."""
    if answer is None or answer.recalled or answer.first_item_at is None:
        return
    if attempt.first_position or not attempt.placement.reckoned_ms:
        return
    since_s = world.clock.monotonic() - answer.first_item_at
    took_s = (world.clock.now() - attempt.assigned_at).total_seconds() - since_s
    if took_s >= 0:
        placement = attempt.placement
        world.fleet.took(attempt.island_id, job.cargo_slug, placement.reckoned_ms, 1000 * took_s)
