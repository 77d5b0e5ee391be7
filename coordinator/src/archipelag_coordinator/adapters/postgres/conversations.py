"""Conversations and their messages in PostgreSQL, found by full text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from archipelag_contracts.ids import JobId, UserId

from archipelag_coordinator.adapters.postgres.rows import (
    INTEGER_MAX,
    Connection,
    at_most,
    changed,
    every,
    inserts,
    jsonb,
    one,
    plain,
)
from archipelag_coordinator.domain.conversation import (
    Conversation,
    ConversationId,
    Figures,
    Message,
    MessageStatus,
    Said,
)
from archipelag_coordinator.errors import Conflict, StorageExceeded

_CONVERSATION: Final = tuple(field.name for field in fields(Conversation))
_MESSAGE: Final = tuple(field.name for field in fields(Message))
# Not `*`: the words that a search goes by are as large as the text.
_COLUMNS: Final = ", ".join(_CONVERSATION)

# Whoever adds to a person's conversations counts them first, one after another.
LOCK_OWNER: Final = "SELECT id FROM users WHERE id = %(owner)s FOR NO KEY UPDATE"
MADE_BY: Final = (
    f"SELECT {_COLUMNS} FROM conversations WHERE owner_id = %(owner)s AND made_by = %(made_by)s"
)
COUNT: Final = "SELECT count(*) AS count FROM conversations WHERE owner_id = %(owner)s"
ADD: Final = inserts("conversations", _CONVERSATION)
CONVERSATION: Final = (
    f"SELECT {_COLUMNS} FROM conversations WHERE id = %(id)s AND owner_id = %(owner)s"
)
LOCKED: Final = f"{CONVERSATION} FOR UPDATE"
SAVE: Final = """
    UPDATE conversations SET updated_at = %(updated_at)s, title = %(title)s, model = %(model)s,
        parameters = %(parameters)s, messages = %(messages)s, size_bytes = %(size_bytes)s
    WHERE id = %(id)s
"""
REMOVE: Final = "DELETE FROM conversations WHERE id = %(id)s AND owner_id = %(owner)s"
_FOUND: Final = """
    c.owner_id = %(owner)s AND (%(query)s = '' OR c.words @@ to_tsquery('simple', %(query)s) OR EXISTS (
        SELECT FROM messages m WHERE m.conversation_id = c.id AND m.words @@ to_tsquery('simple', %(query)s)))
"""
OF_OWNER: Final = f"""
    SELECT {_COLUMNS} FROM conversations c WHERE {_FOUND}
    ORDER BY c.updated_at DESC, c.id DESC LIMIT %(limit)s OFFSET %(offset)s
"""
COUNT_FOUND: Final = f"SELECT count(*) AS count FROM conversations c WHERE {_FOUND}"

SAY: Final = inserts("messages", _MESSAGE, beyond="ON CONFLICT DO NOTHING")
MESSAGES: Final = (
    f"SELECT {', '.join(_MESSAGE)} FROM messages WHERE conversation_id = %(id)s ORDER BY number"
)
SEND: Final = """
    UPDATE messages SET job_id = %(job)s
    WHERE conversation_id = %(conversation_id)s AND number = %(number)s AND job_id IS NULL AND status = 'writing'
"""
SETTLE: Final = """
    UPDATE messages SET status = %(status)s, text = %(text)s, figures = %(figures)s, error = %(error)s
    WHERE conversation_id = %(conversation_id)s AND number = %(number)s AND status = 'writing'
"""
UNSETTLED: Final = """
    SELECT DISTINCT c.owner_id, c.id FROM messages m
    JOIN jobs j ON j.id = m.job_id JOIN conversations c ON c.id = m.conversation_id
    WHERE m.status = 'writing' AND m.job_id IS NOT NULL AND j.status NOT IN ('queued', 'running')
    ORDER BY c.id LIMIT %(limit)s
"""
TAKE_BACK: Final = """
    DELETE FROM messages WHERE conversation_id = %(id)s AND number = ANY(%(numbers)s) AND NOT EXISTS (
        SELECT FROM messages m WHERE m.conversation_id = %(id)s AND m.number = ANY(%(numbers)s)
            AND m.job_id IS NOT NULL)
"""


class PostgresConversations:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, conversation: Conversation, *, most: int) -> Conversation:
        owner = {"owner": conversation.owner_id, "made_by": conversation.made_by}
        await one(self._connection, LOCK_OWNER, owner)
        if standing := await one(self._connection, MADE_BY, owner):
            return _conversation(standing)
        counted = await one(self._connection, COUNT, owner)
        assert counted is not None
        if counted["count"] >= most:
            raise StorageExceeded(0, f"you have {most} conversations")
        await changed(self._connection, ADD, _conversation_values(conversation))
        return conversation

    async def get(self, owner: UserId, conversation: ConversationId) -> Conversation | None:
        row = await one(self._connection, CONVERSATION, {"id": conversation, "owner": owner})
        return _conversation(row) if row else None

    async def lock(self, owner: UserId, conversation: ConversationId) -> Conversation | None:
        row = await one(self._connection, LOCKED, {"id": conversation, "owner": owner})
        return _conversation(row) if row else None

    async def save(self, conversation: Conversation) -> None:
        await changed(self._connection, SAVE, _conversation_values(conversation))

    async def remove(self, owner: UserId, conversation: ConversationId) -> bool:
        values = {"id": conversation, "owner": owner}
        return bool(await changed(self._connection, REMOVE, values))

    async def of_owner(
        self, owner: UserId, *, limit: int, offset: int, words: Sequence[str] = ()
    ) -> tuple[list[Conversation], int]:
        values = {"owner": owner, "limit": limit, "offset": offset, "query": _query(words)}
        rows = await every(self._connection, OF_OWNER, values)
        counted = await one(self._connection, COUNT_FOUND, values)
        assert counted is not None
        return [_conversation(row) for row in rows], counted["count"]

    async def say(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if not await changed(self._connection, SAY, _message_values(message)):
                raise Conflict(f"message {message.number} stands already")

    async def messages(self, conversation: ConversationId) -> list[Message]:
        return [
            _message(row) for row in await every(self._connection, MESSAGES, {"id": conversation})
        ]

    async def send(self, message: Message, job: JobId) -> bool:
        return bool(await changed(self._connection, SEND, _message_values(message) | {"job": job}))

    async def settle(self, message: Message) -> bool:
        return bool(await changed(self._connection, SETTLE, _message_values(message)))

    async def unsettled(self, limit: int) -> list[tuple[UserId, ConversationId]]:
        rows = await every(self._connection, UNSETTLED, {"limit": limit})
        return [(row["owner_id"], row["id"]) for row in rows]

    async def take_back(self, conversation: ConversationId, numbers: Sequence[int]) -> int:
        values = {"id": conversation, "numbers": list(numbers)}
        return await changed(self._connection, TAKE_BACK, values)


def _query(words: Sequence[str]) -> str:
    """Each word is letters and digits only, by whoever cut them; quoted all the same."""
    quoted = (plain(word).replace("\\", " ").replace("'", " ") for word in words)
    return " & ".join(f"'{word}':*" for word in quoted if word.strip())


def _conversation_values(conversation: Conversation) -> dict[str, Any]:
    values = {name: getattr(conversation, name) for name in _CONVERSATION}
    return values | {
        "title": plain(conversation.title),
        "model": plain(conversation.model),
        "parameters": jsonb(dict(conversation.parameters)),
    }


def _message_values(message: Message) -> dict[str, Any]:
    values = {name: getattr(message, name) for name in _MESSAGE}
    figures = asdict(message.figures) | {
        "tokens": at_most(message.figures.tokens, INTEGER_MAX),
    }
    return values | {
        "said": message.said.value,
        "status": message.status.value,
        "text": plain(message.text),
        "error": plain(message.error),
        "figures": jsonb(figures),
    }


def _conversation(row: Mapping[str, Any]) -> Conversation:
    return Conversation(**{name: row[name] for name in _CONVERSATION})


def _message(row: Mapping[str, Any]) -> Message:
    values = {name: row[name] for name in _MESSAGE}
    return Message(
        **values
        | {
            "said": Said(row["said"]),
            "status": MessageStatus(row["status"]),
            "figures": Figures(**row["figures"]),
        }
    )
