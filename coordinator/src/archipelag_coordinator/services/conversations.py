"""A person's conversations: begun, listed, searched, read, renamed and deleted."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.conversation import (
    CONVERSATIONS_MAX,
    Conversation,
    ConversationId,
    Message,
    MessageStatus,
    branch_through,
    checked_model,
    checked_parameters,
    checked_title,
    shown,
)
from archipelag_coordinator.errors import NotFound
from archipelag_coordinator.services.kept import locked, messages_of
from archipelag_coordinator.services.world import World

WORDS_MAX: Final = 16
WORD_CHARS_MAX: Final = 100
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class ConversationView:
    """`messages` are all, by number; `branch` is what is shown of them."""

    conversation: Conversation
    messages: tuple[Message, ...]

    @property
    def branch(self) -> list[Message]:
        return shown(self.messages)

    def through(self, number: int) -> list[Message]:
        """The newest branch with this message in it. Raises NotFound."""
        found = branch_through(self.messages, number)
        if not found:
            raise NotFound("message", str(number))
        return found


async def begin_conversation(
    world: World,
    owner: UserId,
    *,
    title: Any = None,
    model: Any = None,
    parameters: Any = None,
    key: str | None = None,
) -> Conversation:
    """The same again under the same `key`. Raises InvalidInput, and StorageExceeded for one too many."""
    now = world.clock.now()
    conversation = Conversation(
        world.ids.conversation(now),
        owner,
        created_at=now,
        updated_at=now,
        title="" if title is None else checked_title(title),
        model="" if model is None else checked_model(model),
        parameters={} if parameters is None else checked_parameters(parameters),
        made_by=key,
    )
    async with world.store.begin() as tx:
        return await tx.conversations.add(conversation, most=CONVERSATIONS_MAX)


async def list_conversations(
    world: World, owner: UserId, *, limit: int, offset: int, search: str = ""
) -> tuple[list[Conversation], int]:
    """Newest first, and how many there are in all. `search`: words that title or messages have."""
    words = [word.lower()[:WORD_CHARS_MAX] for word in _WORD.findall(search)][:WORDS_MAX]
    if search.strip() and not words:
        return [], 0
    async with world.store.begin() as tx:
        return await tx.conversations.of_owner(owner, limit=limit, offset=offset, words=words)


async def read_conversation(
    world: World, owner: UserId, conversation_id: ConversationId
) -> ConversationView:
    """With every answer whose job has ended. Raises NotFound, also for somebody else's."""
    async with world.store.begin() as tx:
        conversation = await locked(tx, owner, conversation_id)
        conversation, messages = await messages_of(world, tx, conversation)
    return ConversationView(conversation, tuple(messages))


async def keep_answers(world: World, limit: int) -> int:
    """Brings answers that nobody came back for into their conversations; returns how many of these there were."""
    async with world.store.begin() as tx:
        unread = await tx.conversations.unsettled(limit)
    for owner, conversation_id in unread:
        with contextlib.suppress(NotFound):  # Deleted meanwhile.
            await read_conversation(world, owner, conversation_id)
    return len(unread)


async def change_conversation(
    world: World,
    owner: UserId,
    conversation_id: ConversationId,
    *,
    title: Any = None,
    model: Any = None,
    parameters: Any = None,
) -> Conversation:
    """Raises NotFound, InvalidInput."""
    async with world.store.begin() as tx:
        changed = await locked(tx, owner, conversation_id)
        if title is not None:
            changed = changed.rename(title, world.clock.now())
        if model is not None:
            changed = replace(changed, model=checked_model(model))
        if parameters is not None:
            changed = replace(changed, parameters=checked_parameters(parameters))
        await tx.conversations.save(changed)
    return changed


async def delete_conversation(
    world: World, owner: UserId, conversation_id: ConversationId
) -> list[JobId]:
    """Gone with all that was said; returns the jobs that still write to it. Raises NotFound."""
    async with world.store.begin() as tx:
        conversation = await locked(tx, owner, conversation_id)
        _, messages = await messages_of(world, tx, conversation)
        await tx.conversations.remove(owner, conversation_id)
    return [
        message.job_id
        for message in messages
        if message.status is MessageStatus.WRITING and message.job_id is not None
    ]


def as_markdown(view: ConversationView) -> str:
    """What is shown of it, as a document to keep. What was said stands as it is: it is Markdown already."""
    parts = [f"# {view.conversation.title or 'Conversation'}", ""]
    for message in view.branch:
        who = "You" if message.said == "user" else (message.model or "Assistant")
        parts += [f"## {who}", "", message.text or f"*{message.error or message.status.value}*", ""]
    return "\n".join(parts)
