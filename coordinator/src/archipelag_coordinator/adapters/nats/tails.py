"""What attempts said of late, read out of the broker's stream for many of them together.

The broker finds the messages of one subject by looking at each message of the stream from there on, whosever it is.
Where hundreds of attempts are taken over in one moment, one look for all of them costs it, and us, a hundredth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from archipelag_contracts import subjects
from archipelag_contracts.ids import RelayId

from archipelag_coordinator.adapters.nats.line import Line, follows_on
from archipelag_coordinator.adapters.nats.replay import Replay

FEW: Final = 4
"""So many are read one by one: whom they speak to may say much else."""

TakeKept = Callable[[Line, bytes], None]
Start = Callable[[Coroutine[Any, Any, None]], None]


@dataclass(eq=False)
class Look:
    """One attempt's. Nothing is known to be missing of it before the message `after` of the stream."""

    line: Line
    after: int
    done: asyncio.Future[None]
    fits: bool = False
    """What was found follows on what is there; everything was taken from then on."""
    late: bool = False
    """What was found does not: more is missing. Nothing was taken."""

    def take(self, number: int, payload: bytes, take: TakeKept) -> None:
        if number <= self.after:
            return
        if not self.fits:
            found = follows_on(self.line.answer, payload)
            if found is None:
                return
            self.fits, self.late = found, not found
            if self.late:
                return
        self.after = number
        if payload:
            take(self.line, payload)


class Tails:
    """Reads for whoever asks in the same moment together, by the process that their Islands speak to."""

    def __init__(self, replay: Replay, take: TakeKept, start: Start) -> None:
        self._replay = replay
        self._take = take
        self._start = start
        self._waiting: dict[RelayId, list[Look]] = {}
        self._at_it: set[RelayId] = set()

    async def read(self, line: Line, after: int) -> Look:
        """Takes what the attempt said after that message. Raises nats.errors.Error, OSError, TimeoutError."""
        look = Look(line, after, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(line.relay, []).append(look)
        if line.relay not in self._at_it:
            self._at_it.add(line.relay)
            self._start(self._read_all(line.relay))
        await look.done
        return look

    async def _read_all(self, relay: RelayId) -> None:
        try:
            while looks := self._waiting.pop(relay, None):
                await self._read_some(relay, looks)
        finally:
            self._at_it.discard(relay)

    async def _read_some(self, relay: RelayId, looks: list[Look]) -> None:
        try:
            if len(looks) > FEW:
                await self._read_from(subjects.output_of(relay), looks)
            else:
                for look in looks:
                    await self._read_from(look.line.subject.decode(), [look])
        except Exception as error:  # Each of them says what became of it.
            for look in looks:
                if not look.done.done():
                    look.done.set_exception(error)
        for look in looks:
            if not look.done.done():
                look.done.set_result(None)

    async def _read_from(self, subject: str, looks: list[Look]) -> None:
        by_subject = {look.line.subject: look for look in looks}
        after = min(look.after for look in looks)
        async for number, of, payload in self._replay.chunks(subject, after):
            look = by_subject.get(of)
            if look is not None:
                look.take(number, payload, self._take)
                if look.late:
                    del by_subject[of]
                    if not by_subject:
                        return
