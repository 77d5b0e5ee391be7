"""The words of JSON Schema that the API is described in."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
NUMBER: Final[Schema] = {"type": "number"}
TRUTH: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
CREDITS: Final[Schema] = {"type": "string", "description": "Credits, decimal", "examples": ["1.5"]}
ANYTHING: Final[Schema] = {"type": "object", "additionalProperties": True}

WITHOUT_EFFECT: Final[Schema] = {"description": "Taken, without effect"}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def within(lowest: int, highest: int) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def shape(properties: dict[str, Schema], *optional: str, closed: bool = False) -> Schema:
    """An object whose properties are all there, but for the optional ones."""
    made: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    return made | {"additionalProperties": False} if closed else made


def data(schema: Schema) -> Schema:
    return shape({"data": schema})
