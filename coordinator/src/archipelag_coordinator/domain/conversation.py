"""A conversation of a person with a model: questions and answers that are kept, in branches where asked anew."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NewType

from archipelag_contracts.ids import ALPHABET, BODY_LENGTH, JobId, UserId
from archipelag_contracts.units import ZERO, Ucredits

from archipelag_coordinator.domain.chat import MESSAGE_BYTES_MAX, parse_chat
from archipelag_coordinator.errors import Conflict, InvalidInput, NotFound, TooLarge

ConversationId = NewType("ConversationId", str)
"""`cnv_` and 26 characters."""

CONVERSATIONS_MAX: Final = 1_000
"""Of one person."""
STORED_MESSAGES_MAX: Final = 1_000
"""Of one conversation, all branches together."""
STORED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one conversation, all branches together."""
TITLE_CHARS_MAX: Final = 120
MODEL_CHARS_MAX: Final = 200
FIRST_WORDS_CHARS: Final = 60
UNSENT_S: Final = 60.0
"""A question that has no job after so long never got one: whoever asked it died in between."""

PARAMETERS: Final = (
    "system_prompt",
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "max_tokens",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "cache_prompt",
)
_SHAPE: Final = re.compile(rf"cnv_[{ALPHABET}]{{{BODY_LENGTH}}}")


class Said(StrEnum):
    """Who said a message."""

    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(StrEnum):
    """`writing` until what became of an answer's job is known; a question is `done` from the start."""

    WRITING = "writing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Figures:
    """How an answer came about. Times in milliseconds from the request; None where nobody measured it."""

    island: str = ""
    first_token_ms: int | None = None
    tokens: int = 0
    tokens_per_s: float | None = None
    charged: Ucredits = ZERO
    attempts: int = 0
    finish_reason: str = ""


@dataclass(frozen=True)
class Message:
    """Numbered from 1 within its conversation. `parent` is what it follows, 0 for a first question."""

    conversation_id: ConversationId
    number: int
    parent: int
    said: Said
    text: str
    status: MessageStatus
    created_at: datetime
    job_id: JobId | None = None
    model: str = ""
    idempotency_key: str | None = None
    figures: Figures = field(default_factory=Figures)
    error: str = ""

    @property
    def size_bytes(self) -> int:
        return len(self.text.encode("utf-8", "replace"))

    def is_unsent(self, now: datetime) -> bool:
        """Its job was never made, and nobody is about to make it."""
        waited = now - self.created_at > timedelta(seconds=UNSENT_S)
        return self.status is MessageStatus.WRITING and self.job_id is None and waited

    def sent(self, job_id: JobId) -> Message:
        assert self.said is Said.ASSISTANT and self.job_id in (None, job_id)
        return replace(self, job_id=job_id)

    def settle(
        self, status: MessageStatus, text: str, figures: Figures, error: str = ""
    ) -> Message:
        """The first word stays."""
        if self.status is not MessageStatus.WRITING:
            return self
        return replace(self, status=status, text=text, figures=figures, error=error[:2000])


@dataclass(frozen=True)
class Conversation:
    """`messages` and `size_bytes` count all branches; `made_by` is the idempotency key that made it."""

    id: ConversationId
    owner_id: UserId
    created_at: datetime
    updated_at: datetime
    title: str = ""
    """Empty until the first question."""
    model: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: int = 0
    size_bytes: int = 0
    made_by: str | None = None

    def rename(self, title: str, now: datetime) -> Conversation:
        """Raises InvalidInput."""
        return replace(self, title=checked_title(title), updated_at=now)

    def ask(
        self, text: str, parent: int, now: datetime, key: str | None
    ) -> tuple[Conversation, Message, Message]:
        """A question and the answer that is awaited. Raises InvalidInput, TooLarge, Conflict."""
        text = checked_question(text)
        grown = self._grow(2, len(text.encode()), now)
        number = self.messages + 1
        question = Message(
            self.id, number, parent, Said.USER, text, MessageStatus.DONE, now, idempotency_key=key
        )
        named = replace(grown, title=self.title or first_words(text))
        return named, question, self._answer(number + 1, number, now)

    def ask_again(
        self, question: Message, now: datetime, key: str | None
    ) -> tuple[Conversation, Message]:
        """Another answer to a question that was asked before. Raises Conflict."""
        answer = self._answer(self.messages + 1, question.number, now)
        return self._grow(1, 0, now), replace(answer, idempotency_key=key)

    def keep(self, size_bytes: int) -> Conversation:
        """With so many more bytes; an answer that was paid for is kept whatever its size."""
        return replace(self, size_bytes=self.size_bytes + size_bytes)

    def _answer(self, number: int, parent: int, now: datetime) -> Message:
        return Message(
            self.id,
            number,
            parent,
            Said.ASSISTANT,
            "",
            MessageStatus.WRITING,
            now,
            model=self.model,
        )

    def _grow(self, messages: int, size_bytes: int, now: datetime) -> Conversation:
        if self.messages + messages > STORED_MESSAGES_MAX:
            raise Conflict(
                f"this conversation has its {STORED_MESSAGES_MAX} messages: begin another one"
            )
        if self.size_bytes + size_bytes > STORED_BYTES_MAX:
            raise TooLarge("this conversation", STORED_BYTES_MAX)
        return replace(
            self,
            messages=self.messages + messages,
            size_bytes=self.size_bytes + size_bytes,
            updated_at=now,
        )


def conversation_id(text: str) -> ConversationId:
    """Raises NotFound for what cannot be one."""
    if not _SHAPE.fullmatch(text):
        raise NotFound("conversation", text)
    return ConversationId(text)


def shown(messages: Sequence[Message]) -> list[Message]:
    """The newest branch, from its first question on. `messages` are all of a conversation, by number."""
    return _path(messages, max((message.number for message in messages), default=0))


def branch_through(messages: Sequence[Message], number: int) -> list[Message]:
    """The newest branch in which this message stands; empty where there is none of this number."""
    below = {number}
    for message in messages:
        if message.parent in below:
            below.add(message.number)
    return _path(messages, max(below))


def _path(messages: Sequence[Message], end: int) -> list[Message]:
    by_number = {message.number: message for message in messages}
    path: list[Message] = []
    at = end
    while at in by_number:
        path.append(by_number[at])
        at = by_number[at].parent
    return path[::-1]


def path_to(messages: Sequence[Message], number: int) -> list[Message]:
    """What was said up to this message, along its branch."""
    return shown([message for message in messages if message.number <= number])


def checked_title(title: Any) -> str:
    """Raises InvalidInput."""
    text = _one_line(title) if isinstance(title, str) else ""
    if not 1 <= len(text) <= TITLE_CHARS_MAX:
        raise InvalidInput({"title": [f"must be text of 1 to {TITLE_CHARS_MAX} characters"]})
    return text


def checked_question(text: Any) -> str:
    """Raises InvalidInput."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput({"content": ["is required: what you want to ask"]})
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput({"content": ["has half of a surrogate pair, not text"]}) from None
    if size > MESSAGE_BYTES_MAX:
        raise InvalidInput(
            {"content": [f"must have at most {MESSAGE_BYTES_MAX} bytes, has {size}"]}
        )
    return text


def checked_model(model: Any) -> str:
    """Raises InvalidInput."""
    if not isinstance(model, str) or not 1 <= len(model) <= MODEL_CHARS_MAX:
        raise InvalidInput({"model": ["must be the name of a chat model, see /api/v1/models"]})
    return model


def checked_parameters(given: Any) -> dict[str, Any]:
    """Raises InvalidInput, naming each as `parameters.…`."""
    if not isinstance(given, dict):
        raise InvalidInput({"parameters": ["must be an object"]})
    errors = {
        f"parameters.{name[:64]}": ["is not a known parameter"]
        for name in sorted(given.keys() - set(PARAMETERS))
    }
    kept = {name: value for name, value in given.items() if value is not None}
    if not errors:
        try:
            parse_chat({"prompt": "?"} | kept, seed=0, items_default=1, items_max=1)
        except InvalidInput as error:
            errors = {f"parameters.{name}": list(why) for name, why in error.errors.items()}
    if errors:
        raise InvalidInput(errors)
    return kept


def first_words(text: str) -> str:
    """A title made from the first question."""
    line = _one_line(text)
    if len(line) <= FIRST_WORDS_CHARS:
        return line or "…"
    cut = line[:FIRST_WORDS_CHARS]
    whole, _, rest = cut.rpartition(" ")
    return (whole if whole and len(rest) < FIRST_WORDS_CHARS // 2 else cut).rstrip() + "…"


def _one_line(text: str) -> str:
    """Without what controls a terminal or turns the direction of writing around."""
    fit = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else " " for c in text)
    return " ".join(fit.split())
