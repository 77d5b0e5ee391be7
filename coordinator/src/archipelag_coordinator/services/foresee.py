"""Learns from an attempt that ended, for those that come after: how long its Island took to the first item, how much of
the prompt it had kept, and for how long it held a slot."""

from __future__ import annotations

from archipelag_coordinator.domain.answer import Answer
from archipelag_coordinator.domain.attempt import Attempt, AttemptStatus
from archipelag_coordinator.domain.job import Job
from archipelag_coordinator.services.world import World


def learn(world: World, job: Job, attempt: Attempt, answer: Answer | None) -> None:
    """Of first items only from what this process heard itself of an answer's beginning."""
    _learn_slot_time(world, job, attempt)
    if answer is None or answer.recalled or answer.first_item_at is None:
        return
    if attempt.first_position or not attempt.placement.reckoned_ms:
        return
    since_s = world.clock.monotonic() - answer.first_item_at
    took_s = (world.clock.now() - attempt.assigned_at).total_seconds() - since_s
    if took_s >= 0:
        reckoned_ms = _reckoned_ms(job, attempt, answer)
        world.fleet.took(attempt.island_id, job.cargo_slug, reckoned_ms, 1000 * took_s)
    _learn_what_was_kept(world, job, attempt, answer)


def _reckoned_ms(job: Job, attempt: Attempt, answer: Answer) -> float:
    """By the Island's own figures, had it been known what it did not have to read."""
    placement = attempt.placement
    left_out = placement.remembered_tokens / max(1, job.prompt_tokens_max)
    return max(0.0, placement.reckoned_ms + placement.reading_ms * (left_out - _cached(answer)))


def _learn_what_was_kept(world: World, job: Job, attempt: Attempt, answer: Answer) -> None:
    placement = attempt.placement
    if placement.held_tokens and answer.prompt_tokens:
        expected = placement.held_tokens / max(1, job.prompt_tokens_max)
        world.fleet.kept(attempt.island_id, job.cargo_slug, _cached(answer) / expected)


def _cached(answer: Answer) -> float:
    """The share of the prompt that was not read again."""
    return answer.cached_tokens / max(1, answer.prompt_tokens)


def _learn_slot_time(world: World, job: Job, attempt: Attempt) -> None:
    """Not from those that were lost: their slot went with their Island."""
    if attempt.ended_at is None or attempt.status is AttemptStatus.LOST:
        return
    held_s = (attempt.ended_at - attempt.assigned_at).total_seconds()
    world.forecast.slot_times.learn(job.cargo_digest, held_s)
