"""What the verbs need to keep conversations: rows that belong to one person and are found by their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.domain.conversation import Conversation, ConversationId, Message


class Conversations(Protocol):
    """Part of a transaction. Whoever asks for somebody else's finds none."""

    async def add(self, conversation: Conversation, *, most: int) -> Conversation:
        """Stores a new one, or returns the one that stands under the same owner and `made_by`.

        Raises StorageExceeded where the owner has `most` already.
        """
        ...

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation | None: ...
    async def lock(self, owner: UserId, conversation: ConversationId) -> Conversation | None:
        """As `get`, and nobody else changes it or its messages before this transaction ends."""
        ...

    async def save(self, conversation: Conversation) -> None: ...
    async def remove(self, owner: UserId, conversation: ConversationId) -> bool:
        """With all its messages. False: there was none."""
        ...

    async def of_owner(
        self, owner: UserId, *, limit: int, offset: int, words: Sequence[str] = ()
    ) -> tuple[list[Conversation], int]:
        """Newest first, and how many there are in all. `words`: only those whose title, or one of whose messages, has
        words that begin with each of these, in any case of letters."""
        ...

    async def say(self, messages: Sequence[Message]) -> None:
        """Appends. Raises Conflict where a number is taken."""
        ...

    async def messages(self, conversation: ConversationId) -> list[Message]:
        """All of them, by number."""
        ...

    async def send(self, message: Message, job: JobId) -> bool:
        """Notes the job of an answer that has none yet. False: it has one, or was taken back."""
        ...

    async def settle(self, message: Message) -> bool:
        """Saves what became of an answer that was still being written. False: somebody was faster."""
        ...

    async def unsettled(self, limit: int) -> list[tuple[UserId, ConversationId]]:
        """Owner and id of conversations with an answer that is still being written although its job has ended."""
        ...

    async def take_back(self, conversation: ConversationId, numbers: Sequence[int]) -> int:
        """Removes these messages as if never said, if no job was made for any of them; returns how many went."""
        ...
