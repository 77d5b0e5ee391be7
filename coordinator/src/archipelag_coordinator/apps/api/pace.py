"""Decides when a stream that has something new to say is written: at once, or with more, where the process is busy."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

HOLD_S: Final = 0.02
"""The longest that a busy process keeps an item back; nobody sees it in a text that grows."""
STRAINED_HOLD_S: Final = 0.25
"""The same, where it could not keep up otherwise: a text that grows four times a second is better than none."""
LOOK_S: Final = 0.25
"""How often the load is measured, while anything streams."""
IDLE: Final = 0.2
BUSY: Final = 0.7
STRAINED: Final = 0.9
"""Shares of one core, taken or waited for: below the first nothing is held back, and ever longer up to the second and
the third."""


class Paced(Protocol):
    """What is written when its turn comes."""

    written_at: float
    """When it was last written, by the loop's clock."""

    def write(self) -> None:
        """Writes what there is. Must not block."""
        ...

    def fail(self, error: Exception) -> None:
        """`write` raised this."""
        ...


class Pace:
    """One for all streams of a process; not for two threads.

    An idle process writes at the end of the turn of its loop. A busy one lets a stream that was written a moment ago
    wait for more to say; one that was silent for longer than that is never kept waiting. Busy is a process that spends
    its core, and one whose loop is late since others spend it.
    """

    def __init__(self, *, spent: Callable[[], float] = time.thread_time) -> None:
        """`spent`: seconds of a core that this thread took, and best also those that it waited for one."""
        self.hold_s = 0.0
        """How long an item is held back now, at most."""
        self.load = 0.0
        """The share of one core that was taken or waited for when it was last measured."""
        self.writes = 0
        """Since the process began; several items may be in one."""
        self.held = 0
        """Of these, those that waited for company."""
        self._spent = spent
        self._soon: list[Paced] = []
        self._later: list[Paced] = []
        self._looking = False
        self._since = (0.0, 0.0, 0)

    def wants(self, stream: Paced) -> None:
        """Once until its `write` was called."""
        # The loop is asked for only where it is needed: finding it is a call to the system, once a token.
        if self.hold_s:
            loop = asyncio.get_running_loop()
            if loop.time() - stream.written_at < self.hold_s:
                self._later.append(stream)
                if len(self._later) == 1:
                    loop.call_later(self.hold_s, self._write_later)
                return
        self.at_once(stream)

    def at_once(self, stream: Paced) -> None:
        """Written at the end of this turn, even where it waits for company already: an end, after which none comes."""
        self._soon.append(stream)
        if len(self._soon) == 1:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._write_soon)
            if not self._looking:
                self._looking = True
                self._measure(loop)

    def _write_soon(self) -> None:
        streams, self._soon = self._soon, []
        self._write(streams)

    def _write_later(self) -> None:
        streams, self._later = self._later, []
        self.held += len(streams)
        self._write(streams)

    def _write(self, streams: list[Paced]) -> None:
        self.writes += len(streams)
        for stream in streams:
            try:
                stream.write()
            except Exception as error:
                # One stream's mistake must not be the others'.
                log.exception("stream_failed")
                stream.fail(error)

    def _measure(self, loop: asyncio.AbstractEventLoop) -> None:
        self._since = (loop.time(), self._spent(), self.writes)
        loop.call_later(LOOK_S, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        since, spent, writes = self._since
        took = loop.time() - since
        self.load = (self._spent() - spent) / took if took > 0 else 0.0
        late = max(0.0, took - LOOK_S)
        wanted = max(hold_at(self.load), min(late, STRAINED_HOLD_S))
        # Half of the way: what is held back lowers the very load that it follows.
        self.hold_s = (self.hold_s + wanted) / 2 if wanted or self.hold_s > 0.001 else 0.0
        if self.writes == writes and not self._later:
            self.hold_s, self._looking = 0.0, False
            return
        self._measure(loop)


def hold_at(load: float) -> float:
    """How long an item may be held back, in seconds, at this share of one core: first up to what nobody sees."""
    if load <= BUSY:
        return HOLD_S * max(0.0, (load - IDLE) / (BUSY - IDLE))
    return HOLD_S + (STRAINED_HOLD_S - HOLD_S) * min(1.0, (load - BUSY) / (STRAINED - BUSY))
