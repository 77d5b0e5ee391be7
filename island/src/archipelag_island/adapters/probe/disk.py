"""Disk: what this Island's folders take of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def taken_bytes(folders: Iterable[Path]) -> int:
    """Of all files in these folders, each counted once however often it is reached; links are not followed."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = list(folders)
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        stat = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue  # Gone meanwhile.
                    if (stat.st_dev, stat.st_ino) in seen:
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
        except OSError:
            continue  # Gone meanwhile, or not ours to read.
    return total
