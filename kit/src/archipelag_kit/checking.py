"""Checks a job's input against the manifest's `input` schema, and says in a sentence what is wrong with which field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from archipelag_kit.errors import BadInput, NotACargo

FILE: Final = re.compile(r"file_[0-9a-f]{32}")
_SENTENCE_MAX: Final = 300


class InputSchema:
    """Compiled once. Without a schema any JSON object is accepted."""

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self._validator = _compile(schema) if schema else None

    def read(self, data: bytes) -> dict[str, Any]:
        """The input as an object. Raises BadInput, for the customer."""
        try:
            value = json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"the input is not JSON: {error}"[:_SENTENCE_MAX]) from None
        if not isinstance(value, dict):
            raise BadInput("the input must be a JSON object")
        return self.check(value)

    def check(self, value: dict[str, Any]) -> dict[str, Any]:
        if self._validator is None:
            return value
        from jsonschema.exceptions import best_match

        try:
            error = best_match(self._validator.iter_errors(value))
        except RecursionError:
            raise BadInput("the input is nested too deeply") from None
        if error is not None:
            raise BadInput(_explained(error))
        return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")


def _compile(schema: Mapping[str, Any]) -> Any:
    # Late: a Cargo without a schema does not pay for it.
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    formats = FormatChecker(formats=())
    formats.checks("file")(_is_file)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(("input", *(str(part) for part in error.absolute_path)))
        raise NotACargo(f"the manifest's {where} is no JSON Schema: {error.message}") from None
    # An empty registry: a `$ref` to elsewhere is refused and never fetched.
    return Draft202012Validator(schema, registry=Registry(), format_checker=formats)


def _is_file(value: object) -> bool:
    return not isinstance(value, str) or FILE.fullmatch(value) is not None


def _explained(error: Any) -> str:
    """The field, then what is wrong; a value that the customer sent is shown short."""
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path
    ).lstrip(".")
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            what = f"{', '.join(repr(name) for name in missing)} is missing"
        case "type":
            what = f"must be {_named(error.validator_value)}"
        case "format":
            what = "must be a reference to a file: file_ and 32 hexadecimal digits"
        case "maxLength":
            what = f"must have at most {error.validator_value} characters"
        case "minLength":
            what = f"must have at least {error.validator_value} characters"
        case "enum":
            what = f"must be one of {', '.join(json.dumps(v) for v in error.validator_value)}"
        case _:
            what = error.message
    return (f"{path}: {what}" if path else what)[:_SENTENCE_MAX]


def _named(types: str | list[str]) -> str:
    names = {
        "integer": "a whole number",
        "object": "an object",
        "array": "a list",
        "string": "a text",
    }
    names |= {"number": "a number", "boolean": "true or false", "null": "null"}
    return " or ".join(names[name] for name in ([types] if isinstance(types, str) else types))
