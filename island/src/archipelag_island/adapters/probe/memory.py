"""Memory: what the machine has, or what our cgroup lets us use of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from archipelag_island.adapters.probe.cpu import CGROUP, cgroup_folders

MEMINFO: Final = Path("/proc/meminfo")


def usable_bytes(root: Path = CGROUP) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [total]
    for folder in cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            # v1 says "no limit" with a number larger than any memory.
            if text.isdigit() and int(text) > 0:
                limits.append(int(text))
    return min(limits)


def free_bytes(meminfo: Path = MEMINFO) -> int | None:
    """What programs can still have without swapping; None where the system does not say."""
    try:
        for line in meminfo.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None
