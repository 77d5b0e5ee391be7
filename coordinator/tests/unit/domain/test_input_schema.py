"""An input is held to a stranger's schema, whatever that schema says."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.input_schema import input_errors
from archipelag_coordinator.testing.builders import a_manifest


@pytest.mark.parametrize(
    "part",
    [
        {"type": "integer", "multipleOf": 0},
        {"multipleOf": 10**400},
        {"enum": 5},
        {"anyOf": [{"enum": 5}, {"multipleOf": 0}]},
    ],
)
def test_a_schema_that_cannot_be_reckoned_with_refuses_the_input_and_breaks_nothing(
    part: dict[str, Any],
) -> None:
    schema = {"type": "object", "properties": {"a": part}}
    given = 1.5 if part.get("multipleOf") else 3

    errors = input_errors(a_manifest(kind="json", input=schema), {"a": given})

    assert list(errors) == ["input"]


def test_what_is_wrong_with_an_input_is_said_by_field() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 8}}}

    assert input_errors(a_manifest(kind="json", input=schema), {"a": 8}) == {}
    assert (
        "multipleOf" in input_errors(a_manifest(kind="json", input=schema), {"a": 9})["input.a"][0]
    )
