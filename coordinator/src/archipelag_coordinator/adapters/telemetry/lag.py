"""How late the event loop comes to what is due: whatever blocks it shows here."""

from __future__ import annotations

import asyncio
from typing import Final

EVERY_S: Final = 0.1
SPAN_S: Final = 15.0
"""What was measured is told for so long at least, and for twice as long at most, however many ask."""


class Lag:
    """`run` measures until it is cancelled. Not for two threads."""

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._before_s = 0.0
        self._until = SPAN_S

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            now = loop.time()
            self.note(now - due, now)

    def note(self, late_s: float, now: float) -> None:
        """`now` in monotonic seconds."""
        if now >= self._until:
            self._before_s, self._longest_s = self._longest_s, 0.0
            self._until = now + SPAN_S
        self._longest_s = max(self._longest_s, late_s)

    def longest_s(self) -> float:
        """Of the last moments; asking changes nothing."""
        return max(self._before_s, self._longest_s)
