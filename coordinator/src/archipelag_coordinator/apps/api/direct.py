"""The HTTP server's connection as the token path needs it: bytes are written to it without a message or a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archipelag_coordinator.apps.api.round_trip import round_trip_s
from archipelag_coordinator.apps.bodies import Times

HEADERS_S: Final = 20.0
"""Whoever connects has so long to say what it wants; thousands that say nothing would else be waited for, for ever."""
DIRECT: Final = "archipelag.direct"
"""The connection in the ASGI scope, where the server is ours."""


class DirectProtocol(HttpToolsProtocol):
    """uvicorn's own, and two doors to what is below its messages. Only for a response that has begun with no length of
    its own, and until its last message, which is sent as ASGI wants it."""

    on_writable: Callable[[], None] | None = None
    """Called once when the client has read enough after `may_write` said no."""
    headers_s: float = HEADERS_S
    rest: Times = Times()
    """What a client may take for the rest of a body that nobody reads any more, as it was answered before its end."""
    _late: asyncio.TimerHandle | None = None
    _in_message = False
    _rest_bytes: int | None = None
    """Of such a rest, since the timer was set; None while there is none."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message = True
        if self._late is None:
            self._expect_headers()

    def _expect_headers(self) -> None:
        self._late = self.loop.call_later(self.headers_s, self.transport.abort)

    def _headers_are_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_are_here()  # Or nobody is left to send them.
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._headers_are_here()
        if self.parser.get_method() != b"HEAD":
            self.scope[DIRECT] = self  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._rest_bytes is not None:
            self._rest_bytes += len(body)
            if self._rest_bytes >= self.rest.piece_bytes:
                self._expect_rest()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._rest_bytes is not None:
            self._rest_bytes = None
            self._headers_are_here()
            self._expect_headers()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_message and self.cycle.response_complete and not self.transport.is_closing():
            self._expect_rest()

    def _expect_rest(self) -> None:
        self._headers_are_here()
        self._rest_bytes = 0
        self._late = self.loop.call_later(self.rest.piece_s, self.transport.abort)

    @property
    def may_write(self) -> bool:
        """False while more than the transport's bound waits for a client that does not read."""
        return not self.flow.write_paused

    @property
    def round_trip_s(self) -> float | None:
        """To whoever holds the other end, and back; None where nothing tells. Each look asks the kernel."""
        return round_trip_s(self.transport)

    def write_piece(self, data: bytes) -> None:
        """One piece of the body."""
        if not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def resume_writing(self) -> None:
        super().resume_writing()
        waiting, self.on_writable = self.on_writable, None
        if waiting is not None:
            waiting()
