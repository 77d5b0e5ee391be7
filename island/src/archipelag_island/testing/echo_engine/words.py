"""What the echo Cargo says: a function of input and position alone, so that any run can go on where another ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

ITEMS_MAX: Final = 1_000_000
# Ends of seeded words: what a frame, an escape or a cut between two characters might get wrong.
MARKS: Final = (
    " ",
    ", ",
    ".\n",
    "\n\n",
    '" ',
    "\\ ",
    "é ",
    "\u2028",
    "🌊 ",
    "データ ",
    "\t",
    " data: ",
)


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
    seed: int | None = None
    """Where there is one, it makes the words, so that no two places of any two answers look alike."""

    def item(self, position: int) -> tuple[str, int]:
        """Text and token at a position."""
        if self.seed is None:
            index = position % len(self.words)
            return self.words[index] + " ", index
        drawn = blake2b(b"%d:%d" % (self.seed, position), digest_size=4).digest()
        token = int.from_bytes(drawn, "little") >> 1
        return f"{position}.{token:x}{MARKS[token % len(MARKS)]}", token

    def continues(self, texts: Sequence[str], tokens: Sequence[int]) -> bool:
        """Whether these are the first items of this very answer, as whoever goes on with it must be told them."""
        said = [self.item(position) for position in range(len(texts))]
        return [text for text, _ in said] == list(texts) and (
            not tokens or [token for _, token in said] == list(tokens)
        )


def script(data: bytes, output_items_max: int) -> Script:
    """Reads `text` or chat `messages`, and the knobs `items`, `delay_ms`, `die_at`, `stall_at`, `fail_at`, `seeded`.

    A chat has no fields to spare: its knobs are a JSON object in its system message.
    """
    try:
        raw = json.loads(data)
    except ValueError:
        raise NotAcceptable("the input is not JSON") from None
    if not isinstance(raw, dict):
        raise NotAcceptable("the input must be an object")
    said, prompt = _said(raw)
    raw |= _knobs(raw.get("messages"))
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
        seed=_seed(raw) if raw.get("seeded") else None,
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


def _knobs(messages: object) -> dict[str, Any]:
    """What the system message of a chat says, when it is a JSON object."""
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") == "system":
            try:
                found = json.loads(message.get("content", ""))
            except (TypeError, ValueError):
                continue
            if isinstance(found, dict):
                return found
    return {}


def _seed(raw: dict[str, Any]) -> int:
    seed = raw.get("seed", 0)
    if not isinstance(seed, int):
        raise NotAcceptable("seed must be a whole number")
    return seed


def _whole(raw: dict[str, Any], name: str, default: int | None) -> int | None:
    value = raw.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= ITEMS_MAX:
        raise NotAcceptable(f"{name} must be a whole number from 0 to {ITEMS_MAX}")
    return value
