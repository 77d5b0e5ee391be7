"""Frames server-sent events: everything that does not change is prepared once, and only the text is escaped.

Text is escaped to plain ASCII by the C encoder, so that no line break of any alphabet, and no half of a character, can
end an event or begin another, whatever a client counts as a line break.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as escape
from typing import Any, Final, Protocol

from archipelag_contracts.units import to_credits

from archipelag_coordinator.apps.api.errors import Problem, problem_of_ending
from archipelag_coordinator.domain.answer import Ending
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.watch import Reader

KEEP_ALIVE: Final = b": keep-alive\n\n"
DONE: Final = b"data: [DONE]\n\n"
FINISH_REASONS: Final = frozenset({"stop", "length"})


class Frames(Protocol):
    """How one kind of stream looks on the wire."""

    def opening(self) -> bytes: ...
    def items(self, text: str, position: int) -> bytes:
        """`text` is everything up to `position`, after what went before."""
        ...

    def news(self, reader: Reader) -> bytes:
        """What else has changed; nothing where a client is not told."""
        ...

    def ending(self, reader: Reader, ending: Ending) -> bytes: ...


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def event(value: Any, position: int) -> bytes:
    return f"id: {position}\ndata: {compact(value)}\n\n".encode()


def usage_of(ending: Ending, credits_used: str) -> dict[str, Any]:
    """OpenAI's counts and our price."""
    usage = ending.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_items,
        "total_tokens": usage.prompt_tokens + usage.output_items,
        "prompt_tokens_details": {"cached_tokens": ending.cached_tokens},
        "credits_used": credits_used,
    }


def finish_reason_of(ending: Ending) -> str:
    return ending.finish_reason if ending.finish_reason in FINISH_REASONS else "stop"


class ChatFrames:
    """OpenAI's `chat.completion.chunk`, one event for whatever is there at once."""

    def __init__(
        self, common: dict[str, Any], *, include_usage: bool, opened: bool = False
    ) -> None:
        """`opened`: the reader had the beginning on an earlier connection."""
        self._opened = opened
        self._common = common
        self._include_usage = include_usage
        before, after = self._chunk({"content": "@"}, None).split('"@"')
        self._before = b"\ndata: " + before.encode()
        self._after = after.encode() + b"\n\n"

    def opening(self) -> bytes:
        if self._opened:
            return b""
        role = {"role": "assistant", "content": "", "refusal": None}
        return b"id: 0\ndata: " + self._chunk(role, None).encode() + b"\n\n"

    def items(self, text: str, position: int) -> bytes:
        return b"id: %d%b%b%b" % (position, self._before, escape(text).encode(), self._after)

    def news(self, reader: Reader) -> bytes:  # noqa: ARG002 - OpenAI's stream has no such events
        return b""

    def ending(self, reader: Reader, ending: Ending) -> bytes:
        if ending.cause is not Cause.COMPLETED:
            return failure(problem_of_ending(ending), reader.position) + DONE
        last = self._chunk({}, finish_reason_of(ending))
        events = f"id: {reader.position}\ndata: {last}\n\n"
        if self._include_usage:
            usage = usage_of(ending, to_credits(ending.charged))
            whole = compact(self._common | {"choices": [], "usage": usage})
            events += f"id: {reader.position}\ndata: {whole}\n\n"
        return events.encode() + DONE

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = self._common | {"choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return compact(chunk)


def failure(problem: Problem, position: int) -> bytes:
    """An error after the first content, as OpenAI's clients read it."""
    return b"id: %d\ndata: %b\n\n" % (position, problem.as_json())
