"""What a manifest must say beyond what makes it one."""

from __future__ import annotations

import json
import re
from typing import Final

from archipelag_contracts import tiers
from archipelag_contracts.manifest import Manifest

from archipelag_kit.checking import InputSchema
from archipelag_kit.conformance.finding import Failed
from archipelag_kit.errors import BadInput, NotACargo

# An SPDX expression's shape; which names there are is SPDX's business.
_LICENSE: Final = re.compile(
    r"\(?[A-Za-z0-9][A-Za-z0-9.+-]*\)?( (AND|OR|WITH) \(?[A-Za-z0-9][A-Za-z0-9.+-]*\)?)*"
)


def stays_in_its_tier(manifest: Manifest) -> str:
    found = tiers.exceeds(manifest)
    if found:
        raise Failed("; ".join(found), "ask for less, or for a higher limits.tier")
    return f"tier {manifest.limits.tier}"


def describes_itself(manifest: Manifest) -> str:
    if not manifest.description.strip():
        raise Failed("description is empty", "say in a sentence what the Cargo does")
    if not _LICENSE.fullmatch(manifest.license):
        raise Failed(f"license {manifest.license!r} is no SPDX expression", 'such as "Apache-2.0"')
    if not manifest.input:
        raise Failed("there is no input schema", "describe the input in [input], a JSON Schema")
    return manifest.license


def example_fits_its_schema(manifest: Manifest) -> str:
    if not manifest.example:
        raise Failed("there is no example", "give an input to try it with in [example]")
    try:
        InputSchema(manifest.input).read(json.dumps(manifest.example).encode())
    except (BadInput, NotACargo) as error:
        raise Failed(f"the example: {error}", "mend [example] or [input]") from None
    return f"{len(manifest.example)} fields"


CHECKS: Final = (
    ("the manifest stays in its tier", stays_in_its_tier),
    ("the manifest describes the Cargo", describes_itself),
    ("the example fits the schema", example_fits_its_schema),
)
