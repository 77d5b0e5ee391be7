"""What an attempt has said so far, from the stream that keeps a few minutes of all output."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Final, Protocol

from archipelag_contracts import streams
from nats.js.errors import NotFoundError

from archipelag_coordinator.adapters.nats.connection import Connection

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 2.0
MESSAGES_MAX: Final = 100_000


class Replay(Protocol):
    """Where missed chunks come from."""

    def chunks(self, subject: str) -> AsyncIterator[bytes]:
        """Every message on this subject that is still kept, oldest first."""
        ...


class StreamReplay:
    """Reads one attempt's subject out of the stream OUTPUT, message by message: gaps are rare."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def chunks(self, subject: str) -> AsyncIterator[bytes]:
        """Raises nats.errors.Error."""
        js = self._connection.client.jetstream(timeout=TIMEOUT_S)
        sequence = 1
        for _ in range(MESSAGES_MAX):
            try:
                message = await js.get_msg(
                    streams.OUTPUT.name, seq=sequence, subject=subject, direct=True, next=True
                )
            except NotFoundError:
                return
            yield message.data or b""
            assert message.seq is not None
            sequence = message.seq + 1
        log.warning("replay_cut_short subject=%s", subject)
