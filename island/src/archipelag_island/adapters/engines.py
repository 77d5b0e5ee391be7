"""Native engines on this host: installed packages that announce themselves, and those the owner names."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib import metadata
from typing import Final

GROUP: Final = "archipelag.engines"

log = logging.getLogger(__name__)


def installed(extra: Mapping[str, str]) -> dict[str, str]:
    """Engine name → Python package. What the owner names wins; an engine without what it needs is left out."""
    found = {
        point.name: point.value for point in metadata.entry_points(group=GROUP) if _is_whole(point)
    }
    return {**found, **extra}


def _is_whole(point: metadata.EntryPoint) -> bool:
    needed = (point.dist.requires if point.dist else None) or []
    # With a marker it may be for another system, or an extra.
    missing = [one for one in needed if ";" not in one and not _is_installed(one)]
    if missing:
        log.info("engine_not_whole engine=%s missing=%s", point.name, ", ".join(missing))
    return not missing


def _is_installed(requirement: str) -> bool:
    name = re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
