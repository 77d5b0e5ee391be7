"""The last words of a Cargo: its standard error, read always and kept to the end alone."""

from __future__ import annotations

from asyncio import StreamReader
from collections import deque
from collections.abc import Callable
from typing import Final

LINES_MAX: Final = 20
LINE_CHARS_MAX: Final = 300
READ_BYTES: Final = 16 << 10
WORDS_CHARS_MAX: Final = 400
"""So that the end of them fits into a report, after what it says itself."""


class LastWords:
    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self.heard: Callable[[str], None] | None = None
        """Told each line as it comes, but for those of a flood."""

    async def listen(self, stream: StreamReader) -> None:
        """To its end, so that a Cargo that writes much never blocks."""
        while data := await stream.read(READ_BYTES):
            self.add(data)

    def add(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines()[-LINES_MAX:]:
            if line.strip():
                said = "".join(c for c in line[-4096:] if c.isprintable())
                self._lines.append(said[-LINE_CHARS_MAX:])
                if self.heard is not None:
                    self.heard(self._lines[-1])

    def __str__(self) -> str:
        return " | ".join(self._lines)[-WORDS_CHARS_MAX:]
