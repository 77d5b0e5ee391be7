"""Reads a request's JSON body strictly and within its limit, so that nothing strange gets any further."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from starlette.requests import Request

from archipelag_coordinator.apps.api.errors import BadRequest
from archipelag_coordinator.apps.bodies import whole
from archipelag_coordinator.errors import InvalidInput, TooLarge

DEPTH_MAX: Final = 64
DIGITS_MAX: Final = 20
_SUSPICIOUS: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


async def read_object(request: Request, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in the body. Raises TooLarge, TooSlow, BadRequest or InvalidInput."""
    raw = await read_bytes(request, limit_bytes)
    if not raw:
        raise BadRequest("the body is empty; send a JSON object")
    value = parse(raw)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


async def read_bytes(request: Request, limit_bytes: int) -> bytes:
    """Stops as soon as there is too much, whatever the headers say. Raises TooLarge, TooSlow, BadRequest."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and (len(told) > DIGITS_MAX or int(told) > limit_bytes):
        raise TooLarge("the request body", limit_bytes)
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Content-Encoding: send the body as it is, not compressed")
    parts: list[bytes] = []
    size = 0
    async for part in whole(request, request.app.state.settings.bodies):
        size += len(part)
        if size > limit_bytes:
            raise TooLarge("the request body", limit_bytes)
        parts.append(part)
    return b"".join(parts)


def parse(raw: bytes) -> Any:
    """JSON as the standard has it, and a little less: each name once, numbers that are numbers, whole characters."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_whole,
            parse_float=_fraction,
        )
    except RecursionError:
        raise BadRequest(f"the JSON is nested deeper than {DEPTH_MAX} levels") from None
    except ValueError as error:
        told = error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:200]
        raise BadRequest(f"the body is not readable JSON: {told}") from None
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX or _SUSPICIOUS.search(raw) or b"\x00" in raw:
        _check(value)
    return value


def _check(value: Any) -> None:
    """Depth and characters, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise BadRequest(f"the JSON is nested deeper than {DEPTH_MAX} levels")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.keys()
                inner += one.values()
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str):
                _check_text(one)
        level = inner


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise InvalidInput({"body": ["has a NUL character, which is not text"]})
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput({"body": ["has half of a surrogate pair, which is not text"]}) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object names the same field twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _whole(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError(f"a whole number has more than {DIGITS_MAX} digits")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
