"""How late the event loop comes to what is due: whatever blocks it shows here."""

from __future__ import annotations

import asyncio
from typing import Final

EVERY_S: Final = 0.1


class Lag:
    """`run` measures until it is cancelled; `take` gives the longest since it was last asked."""

    def __init__(self) -> None:
        self._longest_s = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self._longest_s = max(self._longest_s, loop.time() - due)

    def take(self) -> float:
        longest, self._longest_s = self._longest_s, 0.0
        return longest
