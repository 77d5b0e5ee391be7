"""What the echo Cargo says: a function of input and position alone, so that any run can go on where another ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

ITEMS_MAX: Final = 1_000_000


class NotAcceptable(Exception):
    """The input cannot be echoed; the text is for the customer."""


@dataclass(frozen=True)
class Script:
    words: tuple[str, ...]
    prompt_tokens: int
    items: int
    finish_reason: str
    delay_s: float
    die_at: int | None
    stall_at: int | None
    fail_at: int | None

    def item(self, position: int) -> tuple[str, int]:
        """Text and token at a position."""
        index = position % len(self.words)
        return self.words[index] + " ", index


def script(data: bytes, output_items_max: int) -> Script:
    """Reads `text` or chat `messages`, and the knobs `items`, `delay_ms`, `die_at`, `stall_at`, `fail_at`."""
    try:
        raw = json.loads(data)
    except ValueError:
        raise NotAcceptable("the input is not JSON") from None
    if not isinstance(raw, dict):
        raise NotAcceptable("the input must be an object")
    said, prompt = _said(raw)
    words = tuple(said.split())
    if not words:
        raise NotAcceptable("there is nothing to say: give `text` or a user message")
    wanted = _whole(raw, "items", len(words)) or 0
    most = min(_whole(raw, "max_tokens", ITEMS_MAX) or ITEMS_MAX, output_items_max or ITEMS_MAX)
    return Script(
        words=words,
        prompt_tokens=prompt,
        items=min(wanted, most),
        finish_reason="length" if wanted > most else "stop",
        delay_s=(_whole(raw, "delay_ms", 0) or 0) / 1000,
        die_at=_whole(raw, "die_at", None),
        stall_at=_whole(raw, "stall_at", None),
        fail_at=_whole(raw, "fail_at", None),
    )


def _said(raw: dict[str, Any]) -> tuple[str, int]:
    """What to say, and how many words were read in all."""
    text = raw.get("text", raw.get("prompt"))
    if isinstance(text, str):
        return text, len(text.split())
    messages = raw.get("messages")
    if not isinstance(messages, list):
        raise NotAcceptable("give `text` or `messages`")
    contents = [
        (m.get("role"), m["content"])
        for m in messages
        if isinstance(m, dict) and isinstance(m.get("content"), str)
    ]
    last = next((content for role, content in reversed(contents) if role == "user"), "")
    return last, sum(len(content.split()) for _, content in contents)


def _whole(raw: dict[str, Any], name: str, default: int | None) -> int | None:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= ITEMS_MAX:
        raise NotAcceptable(f"{name} must be a whole number from 0 to {ITEMS_MAX}")
    return value
