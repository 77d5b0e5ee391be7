"""What attempts said, where no broker keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class FakeReplay:
    """A stream in memory, of one subject."""

    def __init__(self, subject: str, tail_s: float) -> None:
        self.subject = subject
        self.tail_s = tail_s
        self.messages: list[bytes] = []
        self.said_meanwhile: list[bytes] = []
        """What comes into the stream after the first look."""
        self.given: list[int] = []
        self.away = False
        self.before_tail: int | None = None
        """So many of them are older than what is read of a stream that was taken over."""
        self.before_deaf: int | None = None
        """And than what our connection may have lost when it ended."""

    async def keep_place(self) -> None:
        """It is set by hand."""

    def place(self, before_s: float) -> int | None:
        return self.before_tail if before_s == self.tail_s else self.before_deaf

    async def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes, bytes]]:
        assert subject == self.subject
        if self.away:
            raise TimeoutError
        for number, message in enumerate(self.messages[after:], start=after + 1):
            await asyncio.sleep(0)
            self.given.append(number)
            yield number, subject.encode(), message
        self.messages += self.said_meanwhile
        self.said_meanwhile = []
