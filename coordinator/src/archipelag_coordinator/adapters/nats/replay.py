"""What attempts have said so far, from the stream that keeps a few minutes of all output."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Protocol

import nats.errors
from archipelag_contracts import streams
from nats.aio.msg import Msg

from archipelag_coordinator.adapters.nats.connection import Connection
from archipelag_coordinator.clock import Clock

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
MESSAGES_MAX: Final = 1_000_000
BATCH: Final = 1024
INFO: Final = f"$JS.API.STREAM.INFO.{streams.OUTPUT.name}"
PLACES_MAX: Final = 16
STALE_S: Final = 10.0
"""A place that is so much older than was asked for is no use: all of a stream is read as well."""
GET: Final = f"$JS.API.DIRECT.GET.{streams.OUTPUT.name}"
# The broker's own words at the end of a batch: no such message; there are no more of them in this batch.
NONE_LEFT: Final = "404"
BATCH_OVER: Final = "204"
PENDING: Final = "Nats-Num-Pending"
"""After a batch: of all that is kept by then."""


class Replay(Protocol):
    """Where missed chunks come from."""

    def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """Every message on this subject, which may have wildcards, that is kept, oldest first, each
        with its number in the stream and its own subject; with `after` only those with a higher number."""
        ...

    async def keep_place(self) -> None:
        """To be called every few seconds, so that `place` knows."""
        ...

    def place(self, before_s: float) -> int | None:
        """The number of a message that came at least so many seconds ago, and not much longer; None: not known."""
        ...


class StreamReplay:
    """Reads one attempt's subject out of the stream OUTPUT, hundreds of messages a request (NATS, ADR-31)."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._places: deque[tuple[float, int]] = deque(maxlen=PLACES_MAX)
        """When we asked, and the number of the stream's last message then. The broker could look for a time by itself
        (ADR-31), and looks at every message of a stream in memory for that."""

    async def keep_place(self) -> None:
        """Raises nats.errors.Error, OSError."""
        asked_at = self._clock.monotonic()
        said = json.loads(await self._connection.request(INFO, b"", TIMEOUT_S))
        last = said.get("state", {}).get("last_seq")
        if isinstance(last, int):
            self._places.append((asked_at, last))

    def place(self, before_s: float) -> int | None:
        until = self._clock.monotonic() - before_s
        old = [(at, last) for at, last in self._places if at <= until]
        if not old or old[-1][0] < until - STALE_S:
            return None
        return old[-1][1]

    async def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes, bytes]]:
        """Raises nats.errors.Error, TimeoutError."""
        enough = MESSAGES_MAX
        for taken in range(0, MESSAGES_MAX, BATCH):
            batch, left = await self._batch(subject, after + 1)
            for message in batch:
                after = _number(message.headers, "Nats-Sequence")
                yield after, (message.headers or {})["Nats-Subject"].encode(), message.data
            # To the end: the stream may take in what was said before this began while it is read.
            if not left:
                return
            if not taken:
                # Of many attempts, more may be said meanwhile than is read.
                enough = 2 * (BATCH + left)
            if taken >= enough:
                return
        log.warning("replay_cut_short subject=%s", subject)

    async def _batch(self, subject: str, sequence: int) -> tuple[list[Msg], int]:
        """The next messages from this place in the stream on, and how many are left after them."""
        client = self._connection.client
        inbox = client.new_inbox()
        found: list[Msg] = []
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def heard(message: Msg) -> None:
            # All that has come in one turn of the loop: a busy one would make each message wait for a turn of its own.
            status = (message.headers or {}).get("Status")
            if status is None:
                found.append(message)
            elif not over.done():
                if status not in (NONE_LEFT, BATCH_OVER):
                    what = f"the stream cannot be read: {message.headers}"
                    return over.set_exception(nats.errors.Error(what))
                over.set_result(_number(message.headers, PENDING) if status == BATCH_OVER else 0)
            return None

        answers = await client.subscribe(inbox, cb=heard)
        try:
            asked = {"seq": sequence, "next_by_subj": subject, "batch": BATCH}
            await client.publish(GET, json.dumps(asked).encode(), reply=inbox)
            async with asyncio.timeout(TIMEOUT_S):
                return found, await over
        finally:
            await answers.unsubscribe()


def _number(headers: dict[str, str] | None, name: str) -> int:
    return int((headers or {})[name])
