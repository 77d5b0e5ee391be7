"""Native engines on this host: installed packages that announce themselves, and those the owner names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "archipelag.engines"


def installed(extra: Mapping[str, str]) -> dict[str, str]:
    """Engine name → Python package. What the owner names wins."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    return {**found, **extra}
