"""Conversations in memory, with the same guards as in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.conversation import (
    Conversation,
    ConversationId,
    Message,
    MessageStatus,
)
from archipelag_coordinator.errors import Conflict, StorageExceeded
from archipelag_coordinator.testing.memory_state import State


class MemoryConversations:
    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, conversation: Conversation, *, most: int) -> Conversation:
        own = [c for c in self._state.conversations if c.owner_id == conversation.owner_id]
        made_by = conversation.made_by
        standing = next((c for c in own if made_by is not None and c.made_by == made_by), None)
        if standing is not None:
            return standing
        if len(own) >= most:
            raise StorageExceeded(0, f"you have {most} conversations")
        if conversation.owner_id not in self._state.users:
            raise Conflict(f"{conversation.id} names an owner that is not stored")
        self._state.conversations.add(conversation.id, conversation)
        return conversation

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation | None:
        found = self._state.conversations.get(conversation)
        return found if found is not None and found.owner_id == owner else None

    async def lock(self, owner: UserId, conversation: ConversationId) -> Conversation | None:
        return await self.get(owner, conversation)

    async def save(self, conversation: Conversation) -> None:
        if conversation.id in self._state.conversations:
            self._state.conversations.put(conversation.id, conversation)

    async def remove(self, owner: UserId, conversation: ConversationId) -> bool:
        if await self.get(owner, conversation) is None:
            return False
        for message in await self.messages(conversation):
            self._state.messages.remove((conversation, message.number))
        self._state.conversations.remove(conversation)
        return True

    async def of_owner(
        self, owner: UserId, *, limit: int, offset: int, words: Sequence[str] = ()
    ) -> tuple[list[Conversation], int]:
        found = [
            c for c in self._state.conversations if c.owner_id == owner and self._has(c, words)
        ]
        found.sort(key=lambda c: (c.updated_at, c.id), reverse=True)
        return found[offset : offset + limit], len(found)

    async def say(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if (message.conversation_id, message.number) in self._state.messages:
                raise Conflict(f"message {message.number} stands already")
            self._state.messages.add((message.conversation_id, message.number), message)

    async def messages(self, conversation: ConversationId) -> list[Message]:
        found = [m for m in self._state.messages if m.conversation_id == conversation]
        return sorted(found, key=lambda m: m.number)

    async def send(self, message: Message, job: JobId) -> bool:
        standing = self._writing(message)
        if standing is None or standing.job_id is not None:
            return False
        self._put(replace(standing, job_id=job))
        return True

    async def settle(self, message: Message) -> bool:
        standing = self._writing(message)
        if standing is None:
            return False
        self._put(
            replace(
                standing,
                status=message.status,
                text=message.text,
                figures=message.figures,
                error=message.error,
            )
        )
        return True

    async def unsettled(self, limit: int) -> list[tuple[UserId, ConversationId]]:
        found = set()
        for message in self._state.messages:
            job = self._state.jobs.get(message.job_id) if message.job_id else None
            if message.status is MessageStatus.WRITING and job is not None and job.finished:
                found.add(message.conversation_id)
        known = [self._state.conversations.get(one) for one in sorted(found)[:limit]]
        return [(one.owner_id, one.id) for one in known if one is not None]

    async def take_back(self, conversation: ConversationId, numbers: Sequence[int]) -> int:
        all_ = await self.messages(conversation)
        found = [m for m in all_ if m.number in numbers]
        if any(m.job_id is not None for m in found):
            return 0
        for message in found:
            self._state.messages.remove((conversation, message.number))
        return len(found)

    def _writing(self, message: Message) -> Message | None:
        standing = self._state.messages.get((message.conversation_id, message.number))
        writing = standing is not None and standing.status is MessageStatus.WRITING
        return standing if writing else None

    def _put(self, message: Message) -> None:
        self._state.messages.put((message.conversation_id, message.number), message)

    def _has(self, conversation: Conversation, words: Sequence[str]) -> bool:
        said = [m.text for m in self._state.messages if m.conversation_id == conversation.id]
        return any(_all_begin(text, words) for text in (conversation.title, *said))


def _all_begin(text: str, words: Sequence[str]) -> bool:
    standing = re.findall(r"[^\W_]+", text.lower())
    return all(any(one.startswith(word.lower()) for one in standing) for word in words)
