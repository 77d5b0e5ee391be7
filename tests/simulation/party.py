"""A party: one process of the network, which may be killed or frozen at any moment, and its clock."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

START: Final = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PARTY: contextvars.ContextVar[Party | None] = contextvars.ContextVar("party", default=None)
"""Whose code runs: every task, timer and callback carries it in its context."""


@dataclass(eq=False)
class Party:
    """Killed is for good, as -9 is: nothing of it runs again, no `finally` either. A restart is a new party."""

    name: str
    number: int
    host: str = ""
    """The machine that it runs on; partitions are between hosts."""
    skew_s: float = 0.0
    drift: float = 0.0
    """By how much its wall clock runs too fast: 0.01 is 36 s an hour."""
    dead: bool = False
    frozen: bool = False
    kept: list[asyncio.Handle] = field(default_factory=list)
    """What would have happened while it was frozen."""
    on_death: list[Callable[[], None]] = field(default_factory=list)
    on_freeze: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host = self.host or self.name
        self.context = contextvars.copy_context()
        self.context.run(PARTY.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str = "") -> asyncio.Task[Any]:
        """A task of this party, whoever calls."""
        loop = asyncio.get_running_loop()
        return loop.create_task(work, name=name or self.name, context=self.context.copy())

    def kill(self) -> None:
        if self.dead:
            return
        self.dead = True
        self.frozen = False
        kept, self.kept = self.kept, []
        asyncio.get_running_loop().resume(kept)  # type: ignore[attr-defined]  # To be dropped there.
        for told in self.on_death:
            told()

    def freeze(self) -> None:
        self.frozen = not self.dead
        if self.frozen:
            for told in self.on_freeze:
                told()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            kept, self.kept = self.kept, []
            asyncio.get_running_loop().resume(kept)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return self.name


class PartyClock:
    """Implements both packages' `Clock` for one party."""

    def __init__(self, loop: asyncio.AbstractEventLoop, party: Party) -> None:
        self._loop = loop
        self._party = party
        # No process starts counting at zero.
        self._offset = 1000.0 + party.number

    def now(self) -> datetime:
        passed = self._loop.time() * (1 + self._party.drift) + self._party.skew_s
        return START + timedelta(seconds=passed)

    def monotonic(self) -> float:
        return self._loop.time() + self._offset
