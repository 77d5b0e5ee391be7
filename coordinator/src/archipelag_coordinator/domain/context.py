"""What a model is told of a conversation: as much of it as fits, cut from the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from archipelag_coordinator.domain.chat import MESSAGE_BYTES_MAX, MESSAGES_MAX
from archipelag_coordinator.domain.conversation import Message, Said

CONTEXT_BYTES_MAX: Final = 192 * 1024
"""Below the limit of a job's input, with room for JSON's own characters."""
TEMPLATE_TOKENS: Final = 16
"""What a model's template adds to each message, at most."""


def request_of(
    path: Sequence[Message],
    parameters: Mapping[str, Any],
    *,
    context_tokens: int,
    answer_tokens: int,
) -> dict[str, Any]:
    """The chat request that asks the last message of `path`, a question, with what was said before.

    `answer_tokens` of the model's context are left for the answer. The question itself is never cut.
    """
    assert path and path[-1].said is Said.USER
    system = str(parameters.get("system_prompt") or "")
    room_tokens = context_tokens - answer_tokens - _tokens(system) - _tokens(path[-1].text)
    room_bytes = CONTEXT_BYTES_MAX - len(system.encode()) - path[-1].size_bytes
    told = [_told(path[-1])]
    for question, answer in reversed(_exchanges(path[:-1])):
        pair = [_told(question), _told(answer)]
        room_tokens -= sum(_tokens(one["content"]) for one in pair)
        room_bytes -= sum(len(one["content"].encode()) for one in pair)
        if room_tokens < 0 or room_bytes < 0 or len(told) + 3 > MESSAGES_MAX:
            break
        told = pair + told
    if system:
        told.insert(0, {"role": "system", "content": system})
    rest = {name: value for name, value in parameters.items() if name != "system_prompt"}
    return rest | {"messages": told}


def _exchanges(path: Sequence[Message]) -> list[tuple[Message, Message]]:
    """Questions with their answers; one that got none is as if never asked, for models know no such thing."""
    return [
        (one, two)
        for one, two in pairwise(path)
        if one.said is Said.USER and two.said is Said.ASSISTANT and two.text
    ]


def _told(message: Message) -> dict[str, str]:
    """An answer may be longer than a message may be: its end matters most."""
    text = message.text
    if message.size_bytes > MESSAGE_BYTES_MAX:
        text = text.encode()[-MESSAGE_BYTES_MAX:].decode("utf-8", "ignore")
    return {"role": message.said.value, "content": text}


def _tokens(text: str) -> int:
    """More than most models make of it: a third of its letters, two thirds of what is not ASCII."""
    beyond = len(text.encode()) - len(text) if not text.isascii() else 0
    return TEMPLATE_TOKENS + len(text) // 3 + 1 + beyond
