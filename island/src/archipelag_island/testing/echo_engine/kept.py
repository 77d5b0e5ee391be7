"""What the echo Cargo keeps of its ended runs: their words, each under its salt, as a model would keep its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

RUNS_MAX: Final = 16


class KeptWords:
    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, tuple[str, ...]]] = {}

    def shared(self, salt: bytes, words: Sequence[str]) -> int:
        """How many of the words need not be read again; the last one always does."""
        found = [_shared(kept, words) for whose, kept in self._kept.values() if whose == salt]
        return max(found, default=0) if salt else 0

    def keep(self, run_id: str, salt: bytes, words: Sequence[str]) -> None:
        """Nothing without a salt."""
        if not salt:
            return
        self._kept.pop(run_id, None)
        self._kept[run_id] = (salt, tuple(words))
        if len(self._kept) > RUNS_MAX:
            del self._kept[next(iter(self._kept))]

    def runs(self) -> list[str]:
        """The newest first."""
        return list(reversed(self._kept))


def _shared(kept: Sequence[str], words: Sequence[str]) -> int:
    most = max(0, min(len(kept), len(words) - 1))
    return next((n for n in range(most) if kept[n] != words[n]), most)
