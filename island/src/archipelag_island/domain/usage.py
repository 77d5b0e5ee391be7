"""The meter of one warm Cargo: shares what it consumes among the runs that were there meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from archipelag_island.domain.attempt import AttemptKey
from archipelag_island.runtime import Consumption


class Share(NamedTuple):
    """What one run consumed."""

    cpu_ms: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    gpu_ms: int = 0


class Meter:
    """What is shared out never exceeds what was used; what passes without runs belongs to nobody."""

    def __init__(self, used: Consumption | None = None) -> None:
        self._seen = _share(used or Consumption())
        self._parts: dict[AttemptKey, Share] = {}

    def begin(self, key: AttemptKey, used: Consumption) -> None:
        self._pass(used)
        self._parts[key] = Share()

    def end(self, key: AttemptKey, used: Consumption) -> Share:
        self._pass(used)
        return self._parts.pop(key)

    def _pass(self, used: Consumption) -> None:
        seen, count = _share(used), len(self._parts)
        passed = [max(0, now - before) for now, before in zip(seen, self._seen, strict=True)]
        if not count:
            self._seen = Share(*(s + p for s, p in zip(self._seen, passed, strict=True)))
            return
        each = [amount // count for amount in passed]
        for key, part in self._parts.items():
            self._parts[key] = Share(*(p + e for p, e in zip(part, each, strict=True)))
        # What does not divide is shared out the next time.
        self._seen = Share(*(s + e * count for s, e in zip(self._seen, each, strict=True)))


def _share(used: Consumption) -> Share:
    return Share(used.cpu_ms, used.read_bytes, used.written_bytes, used.gpu_ms)
