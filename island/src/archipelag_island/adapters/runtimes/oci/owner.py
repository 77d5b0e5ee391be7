"""Names of what belongs to one life of one Island, so that what a dead one left can be told from what lives."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_OWNED: Final = re.compile(r"(\d+)\.(\d+)-.*")


def prefix() -> str:
    """Of every name that this process gives. A process id comes again, with another time of its start."""
    return f"{os.getpid()}.{_started(os.getpid())}-"


def orphaned(name: str) -> bool:
    """Whether whoever gave this name is gone."""
    match = _OWNED.fullmatch(name)
    return match is not None and _started(int(match[1])) != int(match[2])


def _started(pid: int) -> int:
    """In clock ticks since the machine's start; 0 when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in parentheses may itself contain spaces and parentheses.
    return int(stat.rpartition(")")[2].split()[19])
