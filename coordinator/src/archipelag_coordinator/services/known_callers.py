"""A door that knows those who asked a moment ago, so that not every request asks the database who it is.

What is known is forgotten as soon as any Coordinator says that a key changed, is never relied upon while that word
could not come, and is at most `kept_s` old in any case. Of a key's rate, a tenth is given out between two questions;
what was given out is counted with the next one, where all Coordinators count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from archipelag_coordinator.clock import Clock
from archipelag_coordinator.domain import rate
from archipelag_coordinator.services.ports import Admission, Door

KNOWN_MAX: Final = 10_000
"""Callers that are remembered; the one that was asked about first makes room."""
SHARE: Final = 10
"""One part in so many of a minute's requests passes on what is known."""
ASKING_MAX: Final = 64
"""Questions at once; more wait here, in order, without a connection to the database."""

_Who = tuple[bytes, int]


@dataclass(slots=True)
class _Known:
    """What the door said, and what has passed since."""

    admission: Admission
    until: float
    """Monotonic seconds."""
    empty_us: int
    """When the bucket will be empty, with what has passed here."""
    left: int
    passed: int = 0
    """Not yet counted where all count."""


class KnownCallers:
    """Implements `Door` over another one. Not for two threads."""

    def __init__(
        self, door: Door, clock: Clock, kept_s: float, *, hears: Callable[[], bool]
    ) -> None:
        """`hears`: whether word of changes would come now. `kept_s` 0: nothing is remembered."""
        self.asked = 0
        """Questions to the door beneath, since the process began."""
        self.known = 0
        """Requests that passed without one."""
        self._door = door
        self._clock = clock
        self._kept_s = kept_s
        self._hears = hears
        self._callers: dict[_Who, _Known] = {}
        self._asking: dict[_Who, asyncio.Event] = {}
        self._at_once = asyncio.Semaphore(ASKING_MAX)
        self._changes = 0

    def forget(self) -> None:
        """Some key or person changed, or that may have been missed: whoever comes next is asked about."""
        self._changes += 1
        for caller in self._callers.values():
            caller.until = float("-inf")  # What has passed is still to be counted.

    async def admit(
        self, key_hash: bytes, now: datetime, requests_per_minute: int, passed: int = 0
    ) -> Admission | None:
        assert not passed, "this door counts what passes itself"
        who = (key_hash, requests_per_minute)
        if not self._hears():
            self.forget()
        found = self._pass(who, now)
        if found is None and (asking := self._asking.get(who)) is not None:
            await asking.wait()  # Many who come at once with one key ask one question.
            found = self._pass(who, now)
        return found or await self._ask(who, now)

    async def count(self, bucket: str, now: datetime, per_minute: int) -> float | None:
        return await self._door.count(bucket, now, per_minute)

    def _pass(self, who: _Who, now: datetime) -> Admission | None:
        caller = self._callers.get(who)
        if caller is None or caller.left < 1 or self._clock.monotonic() >= caller.until:
            return None
        admission = caller.admission
        taken = rate.take(caller.empty_us, rate.microseconds(now), admission.limit)
        if taken.retry_after_s is not None:
            return None  # That it is too much is said only by who knows of all.
        caller.empty_us = taken.empty_at
        caller.left -= 1
        caller.passed += 1
        self.known += 1
        return replace(admission, remaining=taken.remaining, reset_s=taken.reset_s)

    async def _ask(self, who: _Who, now: datetime) -> Admission | None:
        asking = self._asking.setdefault(who, asyncio.Event())
        before = self._callers.pop(who, None)
        passed = before.passed if before is not None else 0
        changes, asked_at = self._changes, self._clock.monotonic()
        self.asked += 1
        try:
            async with self._at_once:
                admission = await self._door.admit(who[0], now, who[1], passed)
            passed = 0
            if admission is not None and admission.retry_after_s is None:
                fresh = self._changes == changes and self._hears()
                self._remember(who, admission, now, asked_at if fresh else float("-inf"))
            return admission
        finally:
            if passed and before is not None:
                # It could not be told; the next question tells it.
                self._callers.setdefault(who, before)
            if self._asking.get(who) is asking:
                del self._asking[who]
                asking.set()

    def _remember(self, who: _Who, admission: Admission, now: datetime, asked_at: float) -> None:
        left = admission.limit // SHARE
        if not self._kept_s or not left:
            return
        empty_us = rate.microseconds(now) + int(admission.reset_s * 1e6)
        until = asked_at + self._kept_s
        if len(self._callers) >= KNOWN_MAX:
            del self._callers[next(iter(self._callers))]
        self._callers[who] = _Known(admission, until, empty_us, left)
