"""A submitted Cargo and what was found out about it, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from archipelag import values
from archipelag.values import table


@dataclass(frozen=True)
class CargoCheck:
    """What one check of a submitted Cargo found."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Cargo:
    """A version that somebody submitted: where it stands, and why. `reason` is a reviewer's word."""

    id: int
    slug: str
    version: str
    status: str
    trust: int
    digest: str
    checks: tuple[CargoCheck, ...]
    reason: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def cargo(raw: Any) -> Cargo:
    raw = table(raw, "a Cargo")
    return Cargo(
        values.whole(raw.get("id")),
        values.text(raw, "slug"),
        str(raw.get("version") or ""),
        values.text(raw, "status"),
        values.whole(raw.get("trust")),
        str(raw.get("digest") or ""),
        tuple(map(_check, values.rows(raw.get("checks")))),
        str(raw.get("reason") or ""),
        raw,
    )


def _check(raw: Any) -> CargoCheck:
    raw = table(raw, "a check")
    return CargoCheck(
        values.text(raw, "name"), raw.get("passed") is True, str(raw.get("said") or "")
    )
