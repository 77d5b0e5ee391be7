"""How an answer gets into its conversation: looked up when somebody reads, once its job has ended. Jobs may be pruned;
what was said stays. Common ground of the verbs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from archipelag_contracts.ids import UserId

from archipelag_coordinator.domain.attempt import Attempt
from archipelag_coordinator.domain.conversation import (
    Conversation,
    ConversationId,
    Figures,
    Message,
    MessageStatus,
)
from archipelag_coordinator.domain.job import Job, JobStatus
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.ports import Tx
from archipelag_coordinator.services.world import World

UNSENT: Final = "this question was not sent on: ask it again"
FORGOTTEN: Final = "what became of this answer is not known any more: ask again"
_STATUS: Final = {
    JobStatus.SUCCEEDED: MessageStatus.DONE,
    JobStatus.FAILED: MessageStatus.FAILED,
    JobStatus.CANCELLED: MessageStatus.CANCELLED,
}


async def locked(tx: Tx, owner: UserId, conversation_id: ConversationId) -> Conversation:
    """Raises NotFound, also for somebody else's."""
    found = await tx.conversations.lock(owner, conversation_id)
    if found is None:
        raise NotFound("conversation", conversation_id)
    return found


async def messages_of(
    world: World, tx: Tx, conversation: Conversation
) -> tuple[Conversation, list[Message]]:
    """All that was said, with every answer whose job has ended. The conversation must be locked."""
    now = world.clock.now()
    messages: list[Message] = []
    grown = 0
    for message in await tx.conversations.messages(conversation.id):
        settled = await _settled(world, tx, message, now)
        if settled is not message and await tx.conversations.settle(settled):
            grown += settled.size_bytes
        messages.append(settled)
    if grown:
        conversation = conversation.keep(grown)
        await tx.conversations.save(conversation)
    return conversation, messages


async def _settled(world: World, tx: Tx, message: Message, now: datetime) -> Message:
    """The same where there is nothing new to say of it."""
    if message.status is not MessageStatus.WRITING:
        return message
    if message.job_id is None:
        if message.is_unsent(now):
            return message.settle(MessageStatus.FAILED, "", Figures(), UNSENT)
        return message
    job = await tx.jobs.get(message.job_id)
    if job is None:
        return message.settle(MessageStatus.FAILED, "", Figures(), FORGOTTEN)
    if not job.finished:
        return message
    figures = _figures(world, job, await tx.attempts.of_job(job.id))
    error = job.error if job.status is JobStatus.FAILED else ""
    return message.settle(_STATUS[job.status], job.output or "", figures, error)


def _figures(world: World, job: Job, attempts: list[Attempt]) -> Figures:
    assert job.ended_at is not None
    took_s = (job.ended_at - job.created_at).total_seconds()
    first_s = _first_item_s(world, job)
    figures = Figures(
        tokens=job.output_items,
        charged=job.charged,
        attempts=len(attempts),
        finish_reason=job.finish_reason,
    )
    if first_s is not None and first_s <= took_s:
        figures = replace(figures, first_token_ms=round(1000 * first_s))
        writing_s = took_s - first_s
    else:
        writing_s = sum(attempt.usage.wall_ms for attempt in attempts) / 1000
    if job.output_items > 1 and writing_s > 0:
        figures = replace(figures, tokens_per_s=round((job.output_items - 1) / writing_s, 2))
    if attempts:
        chosen = attempts[-1].island_id
        verdicts = attempts[-1].placement.verdicts
        name = next((v.name for v in verdicts if v.island_id == chosen), chosen)
        figures = replace(figures, island=name)
    return figures


def _first_item_s(world: World, job: Job) -> float | None:
    """Seconds from the request to the first item: known only where it was relayed, and only for a while."""
    answer = world.answers.own(job.id)
    if answer is None or answer.recalled or answer.first_item_at is None:
        return None
    return max(0.0, answer.first_item_at - answer.opened_at)
