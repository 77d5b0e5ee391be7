"""Reads a stream of server-sent events as a stranger's: bounded, checked, turned into texts, a count and an ending."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from archipelag_llm_server.errors import ServerFailed

LINE_BYTES_MAX: Final = 256 * 1024
# A server that writes on and on without a word of an answer is stuck.
SILENT_BYTES_MAX: Final = 1 << 20
_DONE: Final = b"[DONE]"
_COUNT_MAX: Final = (1 << 32) - 1
_SHOWN: Final = 300


@dataclass(frozen=True)
class Told:
    """One event: some text, how it ended, what the prompt took; often only one of them."""

    text: str = ""
    thinks: bool = False
    """It wrote what is not part of the answer."""
    finish_reason: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    """Of the prompt's, those that it did not read again."""


async def read(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Told, None]:
    """Until the server has said all. Raises ServerFailed, also when it breaks off."""
    silent = 0
    finished = False
    async for line in _lines(chunks):
        silent += len(line) + 1
        if silent > SILENT_BYTES_MAX:
            raise ServerFailed(f"it sent {silent} bytes without a word of the answer")
        # Comments, names of events and empty lines between them.
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == _DONE:
            break
        told = _told(data)
        if told.text:
            silent = 0
        finished = finished or bool(told.finish_reason)
        yield told
    if not finished:
        raise ServerFailed("it broke off in the middle of its answer")


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if len(line) > LINE_BYTES_MAX:
                break
            yield line.rstrip(b"\r")
        else:
            if len(rest) <= LINE_BYTES_MAX:
                continue
        raise ServerFailed(f"it sent a line of more than {LINE_BYTES_MAX} bytes")


def _told(data: bytes) -> Told:
    event = _object(data)
    if "error" in event:
        raise ServerFailed(f"it says: {message(data)}")
    try:
        choices, usage = event.get("choices") or [], event.get("usage") or {}
        choice = choices[0] if choices else {}
        delta = choice.get("delta") or {}
        text, finish_reason = delta.get("content") or "", choice.get("finish_reason") or ""
        thinks = bool(delta.get("reasoning_content") or delta.get("reasoning"))
        prompt_tokens = usage.get("prompt_tokens")
        cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    except (AttributeError, KeyError, TypeError):
        raise _nonsense(data) from None
    if not isinstance(text, str) or finish_reason not in ("", "stop", "length"):
        raise _nonsense(data)
    if prompt_tokens is not None and not _is_count(prompt_tokens):
        raise _nonsense(data)
    if not _is_count(cached_tokens):
        raise _nonsense(data)
    return Told(text, thinks, finish_reason, prompt_tokens, cached_tokens)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _COUNT_MAX


def message(data: bytes) -> str:
    """What a server says of its error, in whatever shape; short."""
    try:
        error: Any = json.loads(data)
        error = error.get("error", error) if isinstance(error, dict) else error
        said = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, RecursionError):
        said = data.decode(errors="replace")
    return " ".join(str(said).split())[:_SHOWN]


def _object(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        raise _nonsense(data) from None
    if not isinstance(event, dict):
        raise _nonsense(data)
    return event


def _nonsense(data: bytes) -> ServerFailed:
    return ServerFailed(f"it sent what is no part of an answer: {data[:100]!r}")
