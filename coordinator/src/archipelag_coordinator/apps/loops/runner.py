"""Runs loops: each at its interval, by itself, logging what fails and going on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from archipelag_coordinator.services.world import World

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loop:
    """A verb that is called every `every_s` seconds, and when nudged: at once, or `least_s` after the last time."""

    name: str
    every_s: float
    verb: Callable[[World], Awaitable[None]]
    leader_only: bool = False
    nudged: bool = False
    least_s: float = 0.0
    settled_only: bool = False
    """Only under a leader that has led for a while, and so has seen who else is alive."""
    to_the_end: bool = False
    """Goes on while this process has said that it stops and its last readers leave."""


class Runner:
    """Owns one task for each loop, from `run` until it is cancelled."""

    def __init__(
        self,
        loops: Sequence[Loop],
        is_leader: Callable[[], bool],
        is_settled: Callable[[], bool] | None = None,
    ) -> None:
        self._loops = loops
        self._is_leader = is_leader
        self._is_settled = is_settled or is_leader
        self._nudged = {loop.name: asyncio.Event() for loop in loops if loop.nudged}
        self.leaving = False
        self._turns: set[asyncio.Future[None]] = set()
        """Of loops that do not go on to the end, those under way."""

    async def leave(self, within_s: float) -> None:
        """From now on only what goes on to the end has its turn. Waits so long for turns that are under way: one of
        them may be about to write that this process lives."""
        self.leaving = True
        if self._turns:
            await asyncio.wait(set(self._turns), timeout=within_s)

    def nudge(self) -> None:
        """The nudged loops run now rather than at their next turn."""
        for event in self._nudged.values():
            event.set()

    async def run(self, world: World) -> None:
        async with asyncio.TaskGroup() as group:
            for loop in self._loops:
                group.create_task(self._again_and_again(loop, world), name=f"loop {loop.name}")

    async def _again_and_again(self, loop: Loop, world: World) -> None:
        failing = False
        while True:
            if self._is_ours(loop):
                try:
                    with self._turn_of(loop):
                        await loop.verb(world)
                    failing = False
                    world.tally.turned(loop.name, world.clock.monotonic())
                except Exception:
                    # Once with the trace, then one line a turn: a database that is away is away for all loops.
                    world.tally.failures[loop.name] += 1
                    log.error("loop_failed loop=%s", loop.name, exc_info=not failing)
                    failing = True
            else:
                # Another process does it: nothing is late here.
                world.tally.turned_at[loop.name] = world.clock.monotonic()
            await self._until_next(loop)

    @contextmanager
    def _turn_of(self, loop: Loop) -> Iterator[None]:
        if loop.to_the_end:
            yield
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.add(turn)
        try:
            yield
        finally:
            self._turns.discard(turn)
            turn.set_result(None)

    def _is_ours(self, loop: Loop) -> bool:
        if self.leaving and not loop.to_the_end:
            return False
        if loop.settled_only:
            return self._is_settled()
        return not loop.leader_only or self._is_leader()

    async def _until_next(self, loop: Loop) -> None:
        event = self._nudged.get(loop.name)
        if event is None:
            await asyncio.sleep(loop.every_s)
            return
        await asyncio.sleep(loop.least_s)
        try:
            async with asyncio.timeout(loop.every_s - loop.least_s):
                await event.wait()
        except TimeoutError:
            pass
        event.clear()
