"""What an attempt has said so far, from the stream that keeps a few minutes of all output."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Final, Protocol

import nats.errors
from archipelag_contracts import streams
from nats.aio.msg import Msg

from archipelag_coordinator.adapters.nats.connection import Connection

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0
MESSAGES_MAX: Final = 100_000
BATCH: Final = 512
GET: Final = f"$JS.API.DIRECT.GET.{streams.OUTPUT.name}"
# The broker's own words at the end of a batch: no such message; there are no more of them in this batch.
NONE_LEFT: Final = "404"
BATCH_OVER: Final = "204"


class Replay(Protocol):
    """Where missed chunks come from."""

    def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Every message on this subject that is still kept, oldest first, each with its number in the stream; with
        `after` only those with a higher one."""
        ...


class StreamReplay:
    """Reads one attempt's subject out of the stream OUTPUT, hundreds of messages a request (NATS, ADR-31)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def chunks(self, subject: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Raises nats.errors.Error."""
        sequence = after + 1
        for _ in range(MESSAGES_MAX // BATCH):
            batch = await self._batch(subject, sequence)
            for message in batch:
                after = _sequence(message)
                yield after, message.data
            if not batch:
                return
            sequence = after + 1
        log.warning("replay_cut_short subject=%s", subject)

    async def _batch(self, subject: str, sequence: int) -> list[Msg]:
        """The next messages from this place in the stream on; none when there are no more."""
        client = self._connection.client
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        try:
            asked = {"seq": sequence, "next_by_subj": subject, "batch": BATCH}
            await client.publish(GET, json.dumps(asked).encode(), reply=inbox)
            found: list[Msg] = []
            while True:
                message = await answers.next_msg(TIMEOUT_S)
                status = (message.headers or {}).get("Status")
                if status is None:
                    found.append(message)
                elif status in (NONE_LEFT, BATCH_OVER):
                    return found
                else:
                    raise nats.errors.Error(f"the stream cannot be read: {message.headers}")
        finally:
            await answers.unsubscribe()


def _sequence(message: Msg) -> int:
    return int((message.headers or {})["Nats-Sequence"])
