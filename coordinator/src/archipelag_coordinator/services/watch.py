"""Reads a job's answer as it arrives. Each reader has a place of its own; a slow one slows only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from archipelag_contracts.ids import IslandId, JobId, Position

from archipelag_coordinator.domain.answer import Answer, Ending, Progress
from archipelag_coordinator.domain.waits import Wait
from archipelag_coordinator.services.ports import Mark
from archipelag_coordinator.services.recall import follow
from archipelag_coordinator.services.world import World

WAIT_S = 60.0


async def watch(world: World, job_id: JobId) -> Reader:
    """A reader of this job, whoever relays it. Raises NotFound."""
    return Reader(world, world.answers.get(job_id) or await follow(world, job_id))


async def note_reader(world: World, job_id: JobId) -> None:
    """Somebody is about to be given something of an answer that nobody could continue: should this process die, it is
    known that it must not begin anew."""
    async with world.store.begin() as tx:
        await tx.jobs.mark_delivered([Mark(job_id, Position(0), 0, world.clock.now())])


class Reader:
    """One reader's place in an answer. `close` it when the reader has gone."""

    def __init__(self, world: World, answer: Answer) -> None:
        self._world = world
        self._answer = answer
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._told: tuple[object, ...] = (None, ())
        self._closed = False
        self._only_final = False
        self._round_trip_s: float | None = None
        self.position = 0
        """The next position to take."""
        answer.readers += 1
        answer.left_at, answer.orphaned = None, False
        self._listener: Callable[[], None] = self._wake
        answer.listeners.add(self._listener)

    @property
    def note(self) -> Progress | None:
        """Newest progress."""
        return self._answer.note

    @property
    def waiting(self) -> tuple[str, ...]:
        """Why no Island has taken the job yet."""
        return self._answer.waiting

    @property
    def stands(self) -> Wait | None:
        """Where it stands in line, if somebody has looked."""
        return self._answer.stands

    @property
    def island_id(self) -> IslandId | None:
        """Whose items these are; None before an Island was asked."""
        return self._answer.island_id

    @property
    def final(self) -> Ending | None:
        """How the job ended; set once it is settled. There may be items left to take."""
        return self._answer.final

    @property
    def prompt_tokens(self) -> int:
        return self._answer.prompt_tokens

    @property
    def first_item_s(self) -> float | None:
        """Seconds from the request to the first item."""
        first = self._answer.first_item_at
        return None if first is None else first - self._answer.opened_at

    def take(self) -> list[str]:
        """The items from `position` to what is there."""
        answer = self._answer
        texts = answer.texts[self.position :]
        if texts:
            self.position += len(texts)
            if self.position > answer.taken:
                answer.taken = self.position
        return texts

    def delivered(self) -> None:
        """All that was taken has been written to the response."""
        answer = self._answer
        if self.position > answer.delivered:
            answer.delivered = max(answer.delivered, min(self.position, answer.next))

    def measured(self, round_trip_s: float | None) -> None:
        """How far away whoever reads here is; None where nothing tells, which takes back nothing."""
        if round_trip_s is not None:
            self._round_trip_s = self._answer.reader_round_trip_s = round_trip_s

    def seek(self, position: int) -> None:
        """Goes on at this position: the reader has all before it, be it known here yet or not."""
        self.position = max(0, min(position, self._answer.items_max))

    async def wait(self, timeout_s: float) -> bool:
        """True once there is something new: items, progress, reasons or the end. False after `timeout_s`."""
        if self._news():
            return True
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        # One timer for many waits: setting and cancelling one a token would cost more than the token.
        self._deadline = loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer(self._deadline)
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def listen(self, on_news: Callable[[], None]) -> None:
        """From now on `on_news` is called whenever there may be something new, and nobody waits. It must not block."""
        assert self._waiter is None and not self._closed
        self._answer.listeners.discard(self._listener)
        self._listener = on_news
        self._answer.listeners.add(on_news)

    async def wait_final(self) -> Ending:
        """How the job ended, once it is settled. Takes nothing meanwhile: who has seen nothing can be served anew."""
        self._only_final = True
        try:
            while self._answer.final is None:
                await self.wait(WAIT_S)
        finally:
            self._only_final = False
        return self._answer.final

    def close(self) -> None:
        """The reader has left."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._round_trip_s is not None:
            self._world.tally.reader_round_trip.add(self._round_trip_s)
        answer = self._answer
        answer.listeners.discard(self._listener)
        answer.readers -= 1
        if answer.readers == 0:
            answer.left_at = self._world.clock.monotonic()

    def _news(self) -> bool:
        answer = self._answer
        if answer.final is not None:
            return True
        if self._only_final:
            return False
        if len(answer.texts) > self.position:
            return True
        told = (answer.note, answer.waiting)
        if told != self._told:
            self._told = told
            return True
        return False

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._news():
            self._waiter.set_result(True)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if asyncio.get_running_loop().time() >= self._deadline:
            self._waiter.set_result(False)
        else:
            self._set_timer(self._deadline)
