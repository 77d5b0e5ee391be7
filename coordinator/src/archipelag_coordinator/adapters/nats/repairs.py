"""Fills what is missing of an attempt's output from the stream that keeps a few minutes of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import nats.errors

from archipelag_coordinator.adapters.nats.line import Counts, Line, follows_on
from archipelag_coordinator.adapters.nats.replay import Replay
from archipelag_coordinator.adapters.nats.tails import Tails
from archipelag_coordinator.adapters.nats.wire import Wire
from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain.attempt import Cause

log = logging.getLogger(__name__)

REPAIRS_MAX: Final = 16
REPAIRS_AT_ONCE: Final = 32
TAIL_S: Final = 8.0
"""What was said so lately is read again of a stream that was taken over; items are stored every second."""
HELD_CHUNKS_MAX: Final = 8_192
HELD_BYTES_MAX: Final = 4 << 20
# After a reconnect, an attempt whose next chunk fits has missed nothing; ask the stream only for the others.
SETTLE_S: Final = 0.3
LOOK_S: Final = 0.25
LOOKS_MAX: Final = 24
UNSURE_S: Final = 1.0
"""What was said so long before a connection ended may not have come through it any more."""
AWAY: Final = (nats.errors.Error, OSError, TimeoutError)
"""What reading the stream raises when the broker is away."""


class Take(Protocol):
    """Takes a message of an attempt as the relay does."""

    def __call__(self, line: Line, payload: bytes, now: float, *, from_stream: bool) -> None: ...


class Wrong(Protocol):
    """Ends an attempt whose output cannot be made whole."""

    def __call__(self, line: Line, why: str, cause: Cause = ...) -> None: ...


class Repairs:
    """Owns the tasks that look up what is missing. `lines`: the attempts that are open, by subject."""

    def __init__(
        self,
        clock: Clock,
        replay: Replay,
        lines: Mapping[bytes, Line],
        counts: Counts,
        take: Take,
        wrong: Wrong,
    ) -> None:
        self._clock = clock
        self._replay = replay
        self._lines = lines
        self._counts = counts
        self._take = take
        self._wrong = wrong
        self._tails = Tails(replay, self._take_kept, self._start)
        self._whole_until: int | None = None
        """The stream's message before which nothing is missing of what goes on; None: as far as is known, ever."""
        self._at_once = asyncio.Semaphore(REPAIRS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def listen_in(self, line: Line, wire: Wire, since: int | None) -> None:
        """An attempt that speaks to another process: what it has said, then what it says; that waits meanwhile.
        `since`: its answer lacks nothing that was said before that message of the stream; None: not known."""
        line.held, line.held_bytes = deque(), 0
        self._start(self._listen_in(line, wire, since))

    def deafened(self) -> None:
        """From now on something may be missing."""
        if self._whole_until is None:
            self._whole_until = self._replay.place(UNSURE_S)

    def look_for_doubtful(self) -> None:
        """Attempts that may have missed something, and that have not gone on by themselves a moment later."""
        self._start(self._doubtful(self._whole_until))
        self._whole_until = None

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self, line: Line, payload: bytes) -> None:
        assert line.held is not None
        line.held_bytes += len(payload)
        line.held.append(payload)
        line.answer.heard_at = self._clock.monotonic()
        if len(line.held) > HELD_CHUNKS_MAX or line.held_bytes > HELD_BYTES_MAX:
            self._wrong(line, "a gap, and too much output after it")

    def fill(self, line: Line, payload: bytes) -> None:
        """Something is missing before `payload`: fetch it while new chunks wait."""
        line.repairs += 1
        if line.repairs > REPAIRS_MAX:
            # Nobody can tell who loses so much on the way.
            why = f"more than {REPAIRS_MAX} gaps"
            return self._wrong(line, why, Cause.ISLAND_STOPPED)
        line.held = deque([payload])
        line.held_bytes = len(payload)
        self._start(self._refill(line))
        return None

    async def _listen_in(self, line: Line, wire: Wire, since: int | None) -> None:
        """A second look fetches what was said before the broker had passed our subscription on to all its servers,
        unless more has come by then that follows on: nothing is missing before that."""
        try:
            await wire.flush()
        except (OSError, TimeoutError) as error:
            log.warning("listening_in_unsure subject=%r error=%r", line.subject, error)
        # What an answer has from the database lacks a second or two.
        seen = await self._refill(line, self._replay.place(TAIL_S) if since is None else since)
        known = line.answer.next
        await asyncio.sleep(SETTLE_S)
        if self._open(line) and line.held is None and line.answer.next == known:
            # What comes meanwhile need not wait: nothing is known to be missing.
            with suppress(*AWAY):
                await self._tails.read(line, seen)

    async def _doubtful(self, since: int | None) -> None:
        await asyncio.sleep(SETTLE_S)
        for line in tuple(self._lines.values()):
            if line.in_doubt and line.held is None:
                line.held, line.held_bytes = deque(), 0
                self._start(self._refill(line, since))

    async def _refill(self, line: Line, since: int | None = None) -> int:
        """Takes what the stream kept, then what has arrived in the meantime; a gap that is left is bad output. `since`:
        looks no further back than that message, unless what is found then does not fit. Returns the number of the last
        message that it saw in the stream."""
        seen = since or 0
        try:
            seen = await self._look_up(line, since)
        except AWAY as error:
            log.warning("replay_failed subject=%r error=%r", line.subject, error)
        if not self._open(line):
            return seen
        line.in_doubt = False
        for _ in range(LOOKS_MAX):
            if self._drained(line) or not self._open(line):
                break
            if self._clock.monotonic() >= line.says_again_until:
                break
            # The Island was deafened as we were; it says all again some times.
            await asyncio.sleep(LOOK_S)
        held, line.held = line.held or deque(), None
        while held and self._open(line):
            self._take(line, held.popleft(), self._clock.monotonic(), from_stream=True)
        self._counts.repaired += 1
        return seen

    async def _look_up(self, line: Line, since: int | None) -> int:
        seen = 0
        if since is not None:
            look = await self._tails.read(line, since)
            if look.fits or not self._open(line):
                return look.after
        async with self._at_once:
            async for number, _, payload in self._replay.chunks(line.subject.decode()):
                if not self._open(line):
                    break
                seen = number
                if payload:
                    self._take_or_hold(line, payload)
        return seen

    def _take_kept(self, line: Line, payload: bytes) -> None:
        if self._open(line):
            self._take_or_hold(line, payload)

    def _take_or_hold(self, line: Line, payload: bytes) -> None:
        """What comes too early waits for what is missing before it."""
        if line.held is not None and follows_on(line.answer, payload) is False:
            self.hold(line, payload)
        else:
            line.items = 0  # The rate was limited when these were said.
            self._take(line, payload, self._clock.monotonic(), from_stream=True)

    def _drained(self, line: Line) -> bool:
        """Takes all that fits of what was held, in whatever order it came. True when nothing is left."""
        before = -1
        while line.held and len(line.held) != before and self._open(line):
            held, before = line.held, len(line.held)
            line.held, line.held_bytes = deque(), 0
            for payload in held:
                self._take_or_hold(line, payload)
        return not line.held

    def _open(self, line: Line) -> bool:
        return self._lines.get(line.subject) is line

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
