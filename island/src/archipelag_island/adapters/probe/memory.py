"""Memory: what the machine has, or what our cgroup lets us use of it."""

from __future__ import annotations

import os
from pathlib import Path

from archipelag_island.adapters.probe.cpu import CGROUP, cgroup_folders


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
