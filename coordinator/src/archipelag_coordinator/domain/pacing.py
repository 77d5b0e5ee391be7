"""When an Island beats: at a moment of its own within the interval, so that the fleet's heartbeats are spread evenly.

Whatever brought many of them together, a restart above all, they drift apart again within one interval.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from archipelag_contracts.ids import IslandId

INTERVALS_MAX: Final = 1.5
"""An Island is not told to wait for longer than so many intervals."""


def next_beat_s(island: IslandId, now_s: float, interval_s: float) -> float:
    """To its next moment that is half an interval away or more. `now_s`: seconds since 1970, the same everywhere."""
    moment_s = crc32(island.encode()) / 2**32 * interval_s
    wait_s = (moment_s - now_s) % interval_s
    return wait_s if wait_s >= interval_s / 2 else wait_s + interval_s
