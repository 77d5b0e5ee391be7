"""The part of JSON Schema (2020-12) by which a manifest describes its input: no references, expressions, fractions.

Small on purpose: whoever checks an input against a stranger's schema must know what that can cost. Canonical bytes have
no floats, so bounds are whole numbers.
"""

from __future__ import annotations

from typing import Any, Final

DEPTH_MAX: Final = 8
KEYWORDS_MAX: Final = 1_000
TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
FORMATS: Final = ("file", "multiline", "uri", "base64")
"""`file`: the id of an uploaded file, which the Cargo finds among its input files. The others are hints for a form."""

_TEXTS: Final = ("title", "description", "format")
_WHOLE: Final = (
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)
_FREE: Final = ("default", "const", "examples", "enum")
BOUND_MAX: Final = 1 << 64
"""No bound lies further from zero: beyond some numbers no arithmetic goes."""


def problems(schema: Any, where: str = "input") -> list[str]:
    """Every reason why this is not a schema that may be used; none: it is."""
    found: list[str] = []
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return [f'{where} must be a schema with type = "object"']
    _look(schema, where, 0, found)
    if _count(schema) > KEYWORDS_MAX:
        found.append(f"{where} has more than {KEYWORDS_MAX} parts")
    return found[:20]


def senseless(schema: Any, where: str = "input") -> list[str]:
    """What of a schema within `problems` no input can be checked by. Manifests that stand may have such; new ones may
    not."""
    found: list[str] = []
    inner = schema.items() if isinstance(schema, dict) else ()
    for word, value in inner:
        at = f"{where}.{word}"
        match word:
            case "properties":
                for name, one in value.items():
                    found += senseless(one, f"{at}.{name}")
            case "items" | "additionalProperties":
                found += senseless(value, at)
            case "anyOf" | "oneOf":
                for index, one in enumerate(value):
                    found += senseless(one, f"{at}.{index}")
            case "enum" | "examples":
                if not isinstance(value, list) or (word == "enum" and not value):
                    found.append(f"{at} must be a list of what is possible")
            case "multipleOf" if not 0 < value < BOUND_MAX:
                found.append(f"{at} must be more than 0 and at most 64 bits")
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
                if not -BOUND_MAX < value < BOUND_MAX:
                    found.append(f"{at} must have at most 64 bits")
            case _ if word in _WHOLE and not 0 <= value < BOUND_MAX:
                found.append(f"{at} must not be negative, and have at most 64 bits")
    return found[:20]


def has_format(schema: Any, name: str) -> bool:
    """Whether any part of a schema within `problems` has this format."""
    if isinstance(schema, dict):
        return schema.get("format") == name or any(has_format(v, name) for v in schema.values())
    return isinstance(schema, list) and any(has_format(one, name) for one in schema)


def _look(schema: Any, where: str, depth: int, found: list[str]) -> None:
    if not isinstance(schema, dict):
        found.append(f"{where} must be a table")
        return
    if depth > DEPTH_MAX:
        found.append(f"{where} is nested deeper than {DEPTH_MAX} levels")
        return
    for word, value in schema.items():
        at = f"{where}.{word}"
        match word:
            case "type":
                _look_type(value, at, found)
            case "properties":
                _look_properties(value, at, depth, found)
            case "items" | "additionalProperties":
                if not isinstance(value, bool):
                    _look(value, at, depth + 1, found)
            case "anyOf" | "oneOf":
                if not isinstance(value, list) or not 1 <= len(value) <= 16:
                    found.append(f"{at} must be a list of 1 to 16 schemas")
                else:
                    for index, one in enumerate(value):
                        _look(one, f"{at}.{index}", depth + 1, found)
            case "required":
                if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                    found.append(f"{at} must be a list of names")
            case _ if word in _WHOLE:
                if isinstance(value, bool) or not isinstance(value, int):
                    found.append(f"{at} must be a whole number")
            case _ if word in _TEXTS:
                if not isinstance(value, str) or (word == "format" and value not in FORMATS):
                    known = f": one of {', '.join(FORMATS)}" if word == "format" else ""
                    found.append(f"{at} must be text{known}")
            case _ if word in _FREE:
                pass
            case _:
                found.append(f"{at} is not a word of JSON Schema that can be used here")


def _look_type(value: Any, at: str, found: list[str]) -> None:
    kinds = value if isinstance(value, list) else [value]
    if not kinds or not all(isinstance(kind, str) and kind in TYPES for kind in kinds):
        found.append(f"{at} must be one of {', '.join(TYPES)}")


def _look_properties(value: Any, at: str, depth: int, found: list[str]) -> None:
    if not isinstance(value, dict):
        found.append(f"{at} must be a table")
        return
    for name, one in value.items():
        _look(one, f"{at}.{name}", depth + 1, found)


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_count(one) for one in value.values())
    return sum(_count(one) for one in value) if isinstance(value, list) else 0
