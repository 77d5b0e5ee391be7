"""Events on their way from the author's function to the Island: bounded, so that a slow reader slows the function."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from archipelag_kit.events import End, Event, FilePart, Items, Progress, Refused

BYTES_MAX: Final = 1 << 20
# Many items at once may share one message, as long as it stays small.
BATCH_ITEMS_MAX: Final = 256
BATCH_BYTES_MAX: Final = 256 * 1024


class Outbox:
    """One writer, one reader, one loop. Progress takes no room: a newer note replaces one that nobody has read."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._progress: Progress | None = None
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, event: Event) -> None:
        """Waits until there is room."""
        while self._bytes >= BYTES_MAX:
            self._room.clear()
            await self._room.wait()
        self._add(event)

    def note(self, progress: Progress) -> None:
        self._progress = progress
        self._changed.set()

    def end(self, event: End | Refused) -> None:
        """The last event of all; never waits."""
        self._add(event)

    async def take(self) -> list[Event]:
        """What is there, as soon as there is something; neighbouring items in one event."""
        await self._changed.wait()
        taken: list[Event] = []
        if self._progress is not None:
            taken.append(self._progress)
            self._progress = None
        if self._events:
            taken.append(self._next())
        if not self._events:
            self._changed.clear()
        if self._bytes < BYTES_MAX:
            self._room.set()
        return taken

    def _add(self, event: Event) -> None:
        size = _size(event)
        self._events.append((event, size))
        self._bytes += size
        self._changed.set()

    def _next(self) -> Event:
        event, size = self._pop()
        if not isinstance(event, Items):
            return event
        texts = list(event.texts)
        while self._events and len(texts) < BATCH_ITEMS_MAX:
            following, more = self._events[0]
            if not isinstance(following, Items) or size + more > BATCH_BYTES_MAX:
                break
            assert following.first == event.first + len(texts)
            self._pop()
            texts += following.texts
            size += more
        return Items(event.first, tuple(texts))

    def _pop(self) -> tuple[Event, int]:
        event, size = self._events.popleft()
        self._bytes -= size
        return event, size


def _size(event: Event) -> int:
    """About what it takes in memory; an empty item is not free either."""
    match event:
        case Items():
            return sum(64 + len(text) for text in event.texts)
        case FilePart():
            return 64 + len(event.data)
        case _:
            return 64
