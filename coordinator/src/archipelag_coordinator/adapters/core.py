"""How much of a core this thread had, and how long it waited for one, as the kernel counts both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")
"""Nanoseconds that the thread ran, nanoseconds that it was ready to run and did not, and how often it ran (Linux)."""


def core_wanted_s(schedstat: Path = SCHEDSTAT) -> float:
    """Seconds that this thread ran or was ready to run, from an arbitrary start. A process that others keep from its
    core spends little and is busy all the same. Where the kernel does not tell: seconds that it ran."""
    try:
        ran, waited, _ = schedstat.read_bytes().split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(ran) + int(waited)) / 1e9
