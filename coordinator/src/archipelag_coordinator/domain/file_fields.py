"""Where a job's input names files: the places at which its Cargo's schema says `"format": "file"`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archipelag_contracts import ids
from archipelag_contracts.errors import BadId
from archipelag_contracts.ids import FileId

from archipelag_coordinator.errors import InvalidInput

FILES_MAX: Final = 16
"""Of one job."""


def files_of(schema: Mapping[str, Any], given: Any) -> dict[str, FileId]:
    """Field, as `input.a.0.b` → the file that stands there. Raises InvalidInput for what can be no file's id."""
    found: dict[str, FileId] = {}
    errors: dict[str, list[str]] = {}
    _look(schema, given, "input", found, errors)
    if len(found) > FILES_MAX:
        errors["input"] = [f"names more than {FILES_MAX} files"]
    if errors:
        raise InvalidInput(errors)
    return found


def _look(
    schema: Any,
    value: Any,
    where: str,
    found: dict[str, FileId],
    errors: dict[str, list[str]],
) -> None:
    """As deep as the schema, which is bounded, whatever the value is."""
    if not isinstance(schema, Mapping):
        return
    if schema.get("format") == "file" and isinstance(value, str):
        try:
            found[where] = ids.file_id(value)
        except BadId:
            errors[where] = ["must be the id of a file that you uploaded: file_…"]
        return
    for other in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        _look(other, value, where, found, errors)
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        for name, one in value.items():
            inner = known.get(name, schema.get("additionalProperties"))
            _look(inner, one, f"{where}.{name}", found, errors)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _look(schema.get("items"), one, f"{where}.{index}", found, errors)
            if len(found) > FILES_MAX:
                return
