"""Whether a job's input is what its Cargo's manifest asks for: JSON Schema, at a bounded cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import CargoDigest, file_id
from archipelag_contracts.manifest import Manifest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

ERRORS_MAX: Final = 10
SAID_MAX: Final = 200
COMPILED_MAX: Final = 1_024
WORK_MAX: Final = 100_000
"""Parts of the schema times values of the input: no stranger's schema keeps this process busy for long."""
_FORMATS: Final = FormatChecker(formats=())


def input_errors(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Field → what is wrong with it; empty when the input is as the manifest says, or it says nothing.

    The schema was held to `contracts.schema` when the manifest was read: no references, no expressions, bounded depth.
    """
    if not manifest.input:
        return {}
    if _count(manifest.input) * _count(given) > WORK_MAX:
        return {"input": ["has too many values to be checked"]}
    found: dict[str, list[str]] = {}
    errors = _compiled(_Schema(manifest.digest, manifest.input)).iter_errors(dict(given))
    try:
        for error in islice(errors, ERRORS_MAX):
            found.setdefault(_field(error), []).append(_said(error))
    except (ArithmeticError, TypeError):
        # A manifest from before `schema.senseless`: a division by zero, a list that is none.
        return {"input": ["cannot be checked: this Cargo's own schema is wrong"]}
    return found


@dataclass(frozen=True)
class _Schema:
    digest: CargoDigest
    schema: Mapping[str, Any] = field(compare=False)
    """Not compared: a digest names one schema for ever."""


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(named: _Schema) -> Draft202012Validator:
    return Draft202012Validator(dict(named.schema), format_checker=_FORMATS)


@_FORMATS.checks("file", raises=BadId)
def _is_file(value: object) -> bool:
    return not isinstance(value, str) or bool(file_id(value))


def _count(value: Any) -> int:
    """How many values there are in it, itself included. The body's reader has bounded the depth."""
    if isinstance(value, Mapping):
        return 1 + sum(_count(one) for one in value.values())
    return 1 + sum(_count(one) for one in value) if isinstance(value, (list, tuple)) else 1


def _field(error: ValidationError) -> str:
    """`input.a.0.b`; of an unknown or missing field its own name."""
    path = [str(part)[:64] for part in error.absolute_path]
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        path += [str(name)[:64] for name in schema["required"] if name not in instance][:1]
    elif error.validator == "additionalProperties":
        known = schema.get("properties", {})
        path += [str(name)[:64] for name in sorted(instance) if name not in known][:1]
    return ".".join(["input", *path])


def _said(error: ValidationError) -> str:
    """Without the customer's own value, which may be long and is known to them."""
    wanted: Any = error.validator_value
    match error.validator:
        case "required":
            return "is required"
        case "additionalProperties":
            return "is not a known field"
        case "type":
            return f"must be {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
        case "enum":
            return f"must be one of {', '.join(map(str, wanted))}"[:SAID_MAX]
        case "format":
            return "must be the id of an uploaded file: file_…"
        case "anyOf" | "oneOf":
            return "has none of the shapes that are possible here"
    return f"breaks {error.validator}: {wanted}"[:SAID_MAX]
