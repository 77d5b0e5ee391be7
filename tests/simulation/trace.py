"""What happened, in order: a hash over all of it, and the last of it in words."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

RING = 4_000


class Trace:
    """The same seed gives the same hash; a different one says that something here depends on more than the seed."""

    def __init__(self, time: Callable[[], float], *, keep: int | None = RING) -> None:
        self._time = time
        self._hash = hashlib.blake2b(digest_size=16)
        self.ring: deque[str] = deque(maxlen=keep)
        self.count = 0

    def __call__(self, said: str) -> None:
        line = f"{self._time():12.6f} {said}"
        self._hash.update(line.encode())
        self.ring.append(line)
        self.count += 1

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
