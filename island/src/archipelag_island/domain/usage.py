"""The meter of one warm Cargo: shares its processor time among the runs that were there while it passed."""

from __future__ import annotations

from archipelag_island.domain.attempt import AttemptKey


class Meter:
    """What is shared out never exceeds what was used; time without runs belongs to nobody."""

    def __init__(self, cpu_ms: int = 0) -> None:
        self._seen = cpu_ms
        self._parts: dict[AttemptKey, int] = {}

    def begin(self, key: AttemptKey, cpu_ms: int) -> None:
        self._share(cpu_ms)
        self._parts[key] = 0

    def end(self, key: AttemptKey, cpu_ms: int) -> int:
        """Processor milliseconds of this run."""
        self._share(cpu_ms)
        return self._parts.pop(key)

    def _share(self, cpu_ms: int) -> None:
        passed = max(0, cpu_ms - self._seen)
        if not self._parts:
            self._seen = max(self._seen, cpu_ms)
            return
        each = passed // len(self._parts)
        for key in self._parts:
            self._parts[key] += each
        self._seen += each * len(self._parts)
