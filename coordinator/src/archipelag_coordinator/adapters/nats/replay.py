"""What an attempt has said so far, from the stream that keeps a few minutes of all output."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol

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

    def chunks(
        self, subject: str, after: int = 0, since: datetime | None = None
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Every message on this subject that is still kept, oldest first, each with its number in the stream; with
        `after` only those with a higher one; with `since` only those that came since then, by the broker's clock."""
        ...


class StreamReplay:
    """Reads one attempt's subject out of the stream OUTPUT, hundreds of messages a request (NATS, ADR-31)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def chunks(
        self, subject: str, after: int = 0, since: datetime | None = None
    ) -> AsyncIterator[tuple[int, bytes]]:
        """Raises nats.errors.Error."""
        start: dict[str, Any] = {"seq": after + 1}
        if since is not None:
            start = {"start_time": since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        for _ in range(MESSAGES_MAX // BATCH):
            batch, more = await self._batch(subject, start)
            for message in batch:
                after = _sequence(message)
                yield after, message.data
            if not more:
                return
            start = {"seq": after + 1}
        log.warning("replay_cut_short subject=%s", subject)

    async def _batch(self, subject: str, start: dict[str, Any]) -> tuple[list[Msg], bool]:
        """The next messages from this place in the stream on, and whether there may be more of them."""
        client = self._connection.client
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        try:
            asked = start | {"next_by_subj": subject, "batch": BATCH}
            await client.publish(GET, json.dumps(asked).encode(), reply=inbox)
            found: list[Msg] = []
            while True:
                message = await answers.next_msg(TIMEOUT_S)
                status = (message.headers or {}).get("Status")
                if status is None:
                    found.append(message)
                elif status == NONE_LEFT:
                    return found, False
                elif status == BATCH_OVER:
                    left = (message.headers or {}).get("Nats-Num-Pending")
                    return found, bool(found) and left != "0"
                else:
                    raise nats.errors.Error(f"the stream cannot be read: {message.headers}")
        finally:
            await answers.unsubscribe()


def _sequence(message: Msg) -> int:
    return int((message.headers or {})["Nats-Sequence"])
