"""What a run asks for: the chat job's JSON, checked as a whole before anything is computed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from archipelag_llm_chat.errors import BadRequest
from archipelag_llm_chat.sampling import Sampling

INPUT_BYTES_MAX: Final = 256 * 1024
MESSAGES_MAX: Final = 128
STOPS_MAX: Final = 4
STOP_CHARACTERS_MAX: Final = 256
MAX_TOKENS_DEFAULT: Final = 512
# A developer's message is what older templates call a system message.
ROLES: Final[dict[str, str]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# Field → (lowest, highest, whole numbers only, default). Temperature and top_p are what the bundled model's makers
# recommend: at 1.0 a model of this size does not stay with its subject.
_NUMBERS: Final[dict[str, tuple[float, float, bool, float]]] = {
    "max_tokens": (1, 1_000_000, True, MAX_TOKENS_DEFAULT),
    "seed": (-(2**63), 2**63 - 1, True, 0),
    "temperature": (0, 2, False, 0.2),
    "top_p": (0, 1, False, 0.9),
    "min_p": (0, 1, False, 0.0),
    "top_k": (0, 1_000_000, True, 0),
    "frequency_penalty": (-2, 2, False, 0.0),
    "presence_penalty": (-2, 2, False, 0.0),
}


@dataclass(frozen=True)
class ChatRequest:
    messages: tuple[Mapping[str, str], ...]
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...] = ()


def parse_request(data: bytes) -> ChatRequest:
    """A request, whole or not at all. Raises BadRequest with every problem found."""
    raw = _object(data)
    problems = [f"{field[:64]!r} is not a known field" for field in sorted(_unknown(raw))]
    messages = _messages(raw.get("messages"), problems)
    numbers = {name: _number(name, raw.get(name), problems) for name in _NUMBERS}
    stop = _stop(raw.get("stop"), problems)
    if problems:
        raise BadRequest("; ".join(problems[:8]))
    return ChatRequest(
        messages=messages,
        sampling=Sampling(
            seed=int(numbers["seed"]),
            temperature=numbers["temperature"],
            top_k=int(numbers["top_k"]),
            top_p=numbers["top_p"],
            min_p=numbers["min_p"],
            frequency_penalty=numbers["frequency_penalty"],
            presence_penalty=numbers["presence_penalty"],
        ),
        max_tokens=int(numbers["max_tokens"]),
        stop=stop,
    )


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > INPUT_BYTES_MAX:
        raise BadRequest(f"the input has {len(data)} bytes; at most {INPUT_BYTES_MAX} are accepted")
    try:
        raw = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the input is not JSON: {str(error)[:100]}") from None
    if not isinstance(raw, dict):
        raise BadRequest("the input must be a JSON object")
    return raw


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _unknown(raw: dict[str, Any]) -> set[str]:
    return raw.keys() - _NUMBERS.keys() - {"messages", "stop"}


def _messages(raw: Any, problems: list[str]) -> tuple[Mapping[str, str], ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MESSAGES_MAX:
        problems.append(f"messages must be a list of 1 to {MESSAGES_MAX} messages")
        return ()
    messages = []
    for index, one in enumerate(raw):
        role = one.get("role") if isinstance(one, dict) else None
        content = one.get("content") if isinstance(one, dict) else None
        if not isinstance(role, str) or role not in ROLES:
            problems.append(f"messages.{index}.role must be one of {', '.join(ROLES)}")
        elif not isinstance(content, str) or not _is_text(content):
            problems.append(f"messages.{index}.content must be text")
        else:
            messages.append({"role": ROLES[role], "content": content})
    return tuple(messages)


def _number(name: str, raw: Any, problems: list[str]) -> float:
    lowest, highest, whole, default = _NUMBERS[name]
    if raw is None:
        return default
    kinds = int if whole else (int, float)
    # The range is checked on the value as it came: an int too large for a float would raise in isfinite.
    if isinstance(raw, bool) or not isinstance(raw, kinds):
        problems.append(f"{name} must be a {'whole ' if whole else ''}number")
    elif (isinstance(raw, float) and not math.isfinite(raw)) or not lowest <= raw <= highest:
        problems.append(f"{name} must be {lowest:g} to {highest:g}")
    else:
        return raw
    return default


def _stop(raw: Any, problems: list[str]) -> tuple[str, ...]:
    stops = [raw] if isinstance(raw, str) else ([] if raw is None else raw)
    if (
        isinstance(stops, list)
        and len(stops) <= STOPS_MAX
        and all(
            isinstance(one, str) and 0 < len(one) <= STOP_CHARACTERS_MAX and _is_text(one)
            for one in stops
        )
    ):
        return tuple(stops)
    problems.append(
        f"stop must be text or a list of at most {STOPS_MAX} texts of 1 to {STOP_CHARACTERS_MAX} characters"
    )
    return ()


def _is_text(value: str) -> bool:
    """No half of a surrogate pair, which JSON can spell but UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
