"""What a chat job may ask for: OpenAI's request, checked as a whole, as the Cargo's input."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from archipelag_coordinator.errors import InvalidInput, TooLarge, Unsupported

MESSAGES_MAX: Final = 128
MESSAGE_BYTES_MAX: Final = 32 * 1024
INPUT_BYTES_MAX: Final = 256 * 1024
STOPS_MAX: Final = 4
STOP_BYTES_MAX: Final = 256
ROLES: Final = ("system", "developer", "user", "assistant", "tool")
SEED_MAX: Final = 2**63 - 1
# Every message costs a few tokens of the chat template; a token is at least one byte of text.
TEMPLATE_TOKENS_PER_MESSAGE: Final = 16
TEMPLATE_TOKENS: Final = 64

# Field → (lowest, highest, whole numbers only).
_NUMBERS: Final[dict[str, tuple[float, float, bool]]] = {
    "temperature": (0, 2, False),
    "top_p": (0, 1, False),
    "min_p": (0, 1, False),
    "top_k": (0, 1_000_000, True),
    "frequency_penalty": (-2, 2, False),
    "presence_penalty": (-2, 2, False),
    "seed": (-SEED_MAX - 1, SEED_MAX, True),
    "max_tokens": (1, 1_000_000, True),
}
# What an OpenAI client may send and this network takes note of, or need not.
_IGNORED: Final = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "service_tier",
        "n",
        "workload",
    }
    | {
        "parallel_tool_calls",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "verbosity",
    }
    | {
        "reasoning_effort",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
    }
    | {
        "functions",
        "function_call",
        "modalities",
        "audio",
        "prediction",
        "web_search_options",
        "moderation",
    }
)


@dataclass(frozen=True)
class ChatInput:
    """`cargo_input` is the JSON object that the Cargo gets; the next two bound the price."""

    cargo_input: bytes
    prompt_tokens_max: int
    output_items_max: int
    messages: tuple[Mapping[str, str], ...] = ()
    """Whose beginnings an Island may keep; none where the customer says no, or where it is no chat."""


def parse_chat(
    body: Mapping[str, Any], *, seed: int, items_default: int, items_max: int
) -> ChatInput:
    """A chat request, whole or not at all. `seed` is used where the request has none.

    Raises InvalidInput with every problem, Unsupported for what the model cannot do, TooLarge.
    """
    _refuse_unsupported(body)
    errors: dict[str, list[str]] = {}
    known = {
        "messages",
        "prompt",
        "system_prompt",
        "stop",
        "max_completion_tokens",
        "cache_prompt",
    } | _NUMBERS.keys()
    for field in sorted(body.keys() - known - _IGNORED):
        errors[field[:64]] = ["is not a known field"]
    messages = _messages(body, errors)
    given = dict(body)
    if given.get("max_completion_tokens") is not None:
        given["max_tokens"] = given["max_completion_tokens"]
    numbers = {name: _number(name, given.get(name), errors) for name in _NUMBERS}
    stop = _stop(body.get("stop"), errors)
    if not isinstance(body.get("cache_prompt"), (bool, type(None))):
        errors["cache_prompt"] = ["must be true or false"]
    if errors:
        raise InvalidInput(errors)

    wanted = numbers.pop("max_tokens")
    output = min(int(wanted) if wanted is not None else items_default, items_max)
    cargo: dict[str, Any] = {"messages": messages, "max_tokens": output, "seed": seed}
    cargo |= {name: value for name, value in numbers.items() if value is not None}
    if stop:
        cargo["stop"] = stop
    encoded = json.dumps(cargo, ensure_ascii=False, separators=(",", ":")).encode()
    if len(encoded) > INPUT_BYTES_MAX:
        raise TooLarge("the input", INPUT_BYTES_MAX)
    prompt = TEMPLATE_TOKENS + sum(tokens_of_message(one["content"]) for one in messages)
    kept = () if body.get("cache_prompt") is False else tuple(messages)
    return ChatInput(encoded, prompt_tokens_max=prompt, output_items_max=output, messages=kept)


def tokens_of_message(content: str) -> int:
    """At most, the template's own included."""
    return len(content.encode()) + TEMPLATE_TOKENS_PER_MESSAGE


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Says clearly what this model cannot do, rather than leave it out in silence."""
    for field in ("tools", "functions", "audio", "web_search_options", "moderation"):
        if body.get(field):
            raise Unsupported(field, f"{field}: this model cannot do that; leave the field out")
    if body.get("n") not in (None, 1):
        raise Unsupported("n", "n: one choice a request; send several requests instead")
    if body.get("logprobs"):
        raise Unsupported("logprobs", "logprobs: not available; leave the field out")
    if body.get("logit_bias"):
        raise Unsupported("logit_bias", "logit_bias: not available; leave the field out")
    shape = body.get("response_format")
    if shape is not None and shape != {"type": "text"}:
        raise Unsupported("response_format", 'response_format: only {"type": "text"} is available')
    if body.get("modalities") not in (None, ["text"]):
        raise Unsupported("modalities", "modalities: only text is available")


def _messages(body: Mapping[str, Any], errors: dict[str, list[str]]) -> list[dict[str, str]]:
    raw = body.get("messages")
    if raw is None:
        return _messages_from_prompt(body, errors)
    if body.get("prompt") is not None or body.get("system_prompt") is not None:
        errors["messages"] = ["cannot stand beside prompt or system_prompt"]
        return []
    if not isinstance(raw, list) or not 1 <= len(raw) <= MESSAGES_MAX:
        errors["messages"] = [f"must be a list of 1 to {MESSAGES_MAX} messages"]
        return []
    messages: list[dict[str, str]] = []
    for index, one in enumerate(raw):
        where = f"messages.{index}"
        if not isinstance(one, dict):
            errors[where] = ["must be an object with role and content"]
            continue
        if one.get("tool_calls"):
            raise Unsupported(f"{where}.tool_calls", "tool calls: this model cannot do that")
        if one.get("role") not in ROLES:
            errors[f"{where}.role"] = [f"must be one of {', '.join(ROLES)}"]
            continue
        text = _content(one.get("content"), f"{where}.content", errors)
        messages.append({"role": one["role"], "content": text})
    return messages


def _messages_from_prompt(
    body: Mapping[str, Any], errors: dict[str, list[str]]
) -> list[dict[str, str]]:
    messages = []
    if body.get("system_prompt") is not None:
        text = _content(body["system_prompt"], "system_prompt", errors)
        messages.append({"role": "system", "content": text})
    if body.get("prompt") is None:
        errors["messages"] = ["is required (or prompt)"]
        return []
    messages.append({"role": "user", "content": _content(body["prompt"], "prompt", errors)})
    return messages


def _content(raw: Any, where: str, errors: dict[str, list[str]]) -> str:
    """Text, or OpenAI's list of text parts joined."""
    if isinstance(raw, list):
        parts = []
        for part in raw:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("image_url", "input_audio", "file"):
                raise Unsupported(where, f"{where}: this model reads text only, not {kind}")
            if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
                errors[where] = ['must be text, or a list of {"type": "text", "text": …}']
                return ""
            parts.append(part[kind])
        raw = "".join(parts)
    if not isinstance(raw, str):
        errors[where] = ["must be text"]
        return ""
    try:
        size = len(raw.encode())
    except UnicodeEncodeError:
        errors[where] = ["has half of a surrogate pair, which is not text"]
        return ""
    if size > MESSAGE_BYTES_MAX:
        errors[where] = [f"must have at most {MESSAGE_BYTES_MAX} bytes, has {size}"]
    return raw


def _number(name: str, raw: Any, errors: dict[str, list[str]]) -> float | int | None:
    if raw is None:
        return None
    lowest, highest, whole = _NUMBERS[name]
    kinds = int if whole else (int, float)
    if isinstance(raw, bool) or not isinstance(raw, kinds) or not math.isfinite(raw):
        errors[name] = ["must be a whole number" if whole else "must be a number"]
    elif not lowest <= raw <= highest:
        errors[name] = [f"must be {lowest:g} to {highest:g}, is {raw}"]
    else:
        return raw
    return None


def _stop(raw: Any, errors: dict[str, list[str]]) -> list[str]:
    stops = [raw] if isinstance(raw, str) else ([] if raw is None else raw)
    fits = (
        isinstance(stops, list)
        and len(stops) <= STOPS_MAX
        and all(isinstance(s, str) and s and len(s) <= STOP_BYTES_MAX for s in stops)
    )
    if not fits:
        errors["stop"] = [
            f"must be text or a list of at most {STOPS_MAX} texts of 1 to {STOP_BYTES_MAX} characters"
        ]
        return []
    return list(stops)
