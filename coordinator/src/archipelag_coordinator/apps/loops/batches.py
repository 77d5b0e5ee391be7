"""Batches go on: their next jobs are submitted, and those of a batch that stops are cancelled."""

from __future__ import annotations

import logging
from typing import Final

from archipelag_contracts.ids import BatchId

from archipelag_coordinator.apps.loops.together import side_by_side
from archipelag_coordinator.errors import CoordinatorError, IllegalMove, InsufficientCredits
from archipelag_coordinator.services.asked import Submission
from archipelag_coordinator.services.cancel import cancel
from archipelag_coordinator.services.submit import submit
from archipelag_coordinator.services.work_on_batch import (
    batches_to_work_on,
    next_turn,
    not_submitted,
)
from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 100


async def work_on_batches(world: World) -> None:
    """One turn of each that can go on."""

    async def one(batch_id: BatchId) -> None:
        await work_on_batch(world, batch_id)

    await side_by_side(await batches_to_work_on(world, AT_ONCE_MAX), one)


async def work_on_batch(world: World, batch_id: BatchId) -> None:
    turn = await next_turn(world, batch_id)
    if turn.user_id is None:
        return
    for job_id in turn.cancel:
        await cancel(world, turn.user_id, job_id, turn.reason)
    for number, submission in enumerate(turn.submit):
        # In their order: two Coordinators at once then never have more at work than one alone would.
        if not await _submitted(world, submission):
            break
        if number == 0:
            log.info("batch_goes_on batch=%s", batch_id)
    if turn.submit:
        world.nudge()


async def _submitted(world: World, submission: Submission) -> bool:
    """Whether the next member may be tried in this turn."""
    try:
        await submit(world, submission)
    except IllegalMove:
        return False  # Another Coordinator was faster, or it was cancelled: look again.
    except InsufficientCredits as error:
        await not_submitted(world, submission, error)
        return False
    except CoordinatorError as error:
        log.info("batch_member_failed job=%s code=%s: %s", submission.job_id, error.code, error)
        await not_submitted(world, submission, error)
    return True
