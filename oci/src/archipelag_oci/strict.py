"""JSON from strangers: bounded, without repeated keys, each field of the type it must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from archipelag_oci.errors import BadDocument, TooLarge

STRING_CHARACTERS_MAX: Final = 64 * 1024


def parse_object(data: bytes, what: str, bytes_max: int) -> dict[str, Any]:
    """One JSON object. A key said twice is refused: two readers would see two documents."""
    if len(data) > bytes_max:
        raise TooLarge(f"{what} has {len(data)} bytes; {bytes_max} at most")
    try:
        parsed = json.loads(data, object_pairs_hook=lambda pairs: _once(pairs, what))
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadDocument):
            raise
        raise BadDocument(f"{what} is not JSON") from None
    if not isinstance(parsed, dict):
        raise BadDocument(f"{what} is not a JSON object")
    return parsed


def text(document: Mapping[str, Any], name: str, what: str, default: str | None = "") -> str:
    """A string; with `default=None` it must be there."""
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or len(value) > STRING_CHARACTERS_MAX or "\0" in value:
        raise BadDocument(f"{what}: {name} is not a text")
    return value


def number(document: Mapping[str, Any], name: str, what: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value >= 1 << 62:
        raise BadDocument(f"{what}: {name} is not a whole number")
    return value


def objects(
    document: Mapping[str, Any], name: str, what: str, count_max: int
) -> list[dict[str, Any]]:
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadDocument(f"{what}: {name} is not a list of objects")
    if len(value) > count_max:
        raise TooLarge(f"{what}: {name} has {len(value)} entries; {count_max} at most")
    return value


def strings(document: Mapping[str, Any], name: str, what: str, count_max: int) -> tuple[str, ...]:
    """A list of strings; none where it is missing or null."""
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(each, str) and "\0" not in each and len(each) <= STRING_CHARACTERS_MAX
        for each in value
    ):
        raise BadDocument(f"{what}: {name} is not a list of texts")
    if len(value) > count_max:
        raise TooLarge(f"{what}: {name} has {len(value)} entries; {count_max} at most")
    return tuple(value)


def pairs(document: Mapping[str, Any], name: str, what: str, count_max: int) -> dict[str, str]:
    """An object of strings; empty where it is missing or null."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadDocument(f"{what}: {name} is not an object of texts")
    if len(value) > count_max:
        raise TooLarge(f"{what}: {name} has {len(value)} entries; {count_max} at most")
    return dict(value)


def inner(document: Mapping[str, Any], name: str, what: str) -> dict[str, Any]:
    """An object within; empty where it is missing or null."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadDocument(f"{what}: {name} is not an object")
    return value


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes we write: the same document is always the same digest."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _once(found: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    whole = dict(found)
    if len(whole) != len(found):
        raise BadDocument(f"{what} says a key twice")
    return whole
