"""What a chat job may ask for, and the request to the server that it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from archipelag_kit import BadInput
from archipelag_kit.checking import InputSchema

MAX_TOKENS_DEFAULT: Final = 512
# llama.cpp's seeds have 32 bits, and the highest of them means "any".
_SEEDS: Final = 2**32 - 1
_ROLES: Final = {
    "system": "system",
    # Older templates know no developer.
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT: Final = {"type": "string"}
_MESSAGE: Final = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": list(_ROLES)}, "content": _TEXT},
    "additionalProperties": False,
}
_STOP: Final = {"type": "string", "minLength": 1, "maxLength": 256}


def _number(lowest: int, highest: int, kind: str = "number") -> dict[str, Any]:
    return {"type": kind, "minimum": lowest, "maximum": highest}


# The same as llm-chat's: customers are not to care which engine answers.
_SCHEMA: Final = InputSchema(
    {
        "type": "object",
        "required": ["messages"],
        "additionalProperties": False,
        "properties": {
            "messages": {"type": "array", "minItems": 1, "maxItems": 128, "items": _MESSAGE},
            "max_tokens": _number(1, 1_000_000, "integer"),
            "seed": _number(-(2**63), 2**63 - 1, "integer"),
            "temperature": _number(0, 2),
            "top_k": _number(0, 1_000_000, "integer"),
            "top_p": _number(0, 1),
            "min_p": _number(0, 1),
            "frequency_penalty": _number(-2, 2),
            "presence_penalty": _number(-2, 2),
            "stop": {"anyOf": [_STOP, {"type": "array", "maxItems": 4, "items": _STOP}]},
        },
    }
)


def request(
    asked: Mapping[str, Any], model: str, tokens_max: int, more: Mapping[str, Any] | None = None
) -> bytes:
    """The body for `/v1/chat/completions`, with `more` fields of ours. Raises BadInput."""
    given = _SCHEMA.check(dict(asked))
    body = {name: value for name, value in given.items() if name not in ("messages", "seed")}
    body |= more or {}
    body |= {
        "model": model,
        "messages": [{**one, "role": _ROLES[one["role"]]} for one in given["messages"]],
        "max_tokens": min(given.get("max_tokens", MAX_TOKENS_DEFAULT), tokens_max),
        "seed": given.get("seed", 0) % _SEEDS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise BadInput("messages: half of a surrogate pair is no text") from None
