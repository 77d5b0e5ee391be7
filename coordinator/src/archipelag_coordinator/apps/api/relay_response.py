"""The token path: writes a reader's items to the client as prepared bytes, as many at once as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archipelag_coordinator.apps.api.direct import DIRECT, DirectProtocol
from archipelag_coordinator.apps.api.envelope import PACE, RAW_SEND
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.apps.api.sse import KEEP_ALIVE, Frames
from archipelag_coordinator.services.watch import Reader

KEEP_ALIVE_S: Final = 15.0
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Departure:
    """Ends its body when the client leaves: one task a request, none a token. `gone` says that it did."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._body: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    async def __aenter__(self) -> Departure:
        self._body = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        assert self._body is not None and self._watcher is not None
        self._watcher.cancel()
        if not self.gone:
            return False
        # Ours was one cancellation; if somebody else's came too, it goes on.
        return self._body.uncancel() == 0 and kind is asyncio.CancelledError

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        assert self._body is not None
        self.gone = True
        self._body.cancel()


class RelayResponse(Response):
    """Owns the reader and closes it. `first` was taken already while the status was still open."""

    def __init__(
        self,
        reader: Reader,
        frames: Frames,
        *,
        first: list[str],
        headers: Mapping[str, str],
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._reader = reader
        self._frames = frames
        self._first = first
        self._start_headers = [
            *_HEADERS,
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
        ]
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self._start_headers}
        pace = scope.get(PACE) or Pace()
        direct: DirectProtocol | None = scope.get(DIRECT)
        try:
            self._look_how_far(direct)
            async with Departure(receive):
                await send(start)
                stream = _Stream(
                    self._reader,
                    self._frames,
                    scope.get(RAW_SEND, send),
                    direct if RAW_SEND in scope else None,
                    pace,
                    self._keep_alive_s,
                )
                await stream.run(self._first)
        finally:
            self._look_how_far(direct)
            self._reader.close()

    def _look_how_far(self, direct: DirectProtocol | None) -> None:
        """At the beginning and at the end; never for a token."""
        if direct is not None:
            self._reader.measured(direct.round_trip_s)


class _Stream:
    """One response's body. Items are written when the pace calls, without this response's task, where the connection
    can be written to directly; its task writes the end, and everything on any other connection."""

    def __init__(
        self,
        reader: Reader,
        frames: Frames,
        send: Send,
        direct: DirectProtocol | None,
        pace: Pace,
        keep_alive_s: float,
    ) -> None:
        self._reader = reader
        self._frames = frames
        self._send = send
        self._direct = direct
        self._pace = pace
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._wants = False
        self._over = False
        self._sending: tuple[bytes, bool] | None = None
        """What the task is to send or sends, and whether it is the end."""
        self._woken: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._loop.call_later(keep_alive_s, self._time_up)
        self.written_at = self._loop.time()

    async def run(self, first: list[str]) -> None:
        """Returns when the end is written."""
        self._reader.listen(self._heard)
        try:
            self._write(self._frames.opening(), [*first, *self._reader.take()])
            while True:
                await self._woken
                self._woken = self._loop.create_future()
                assert self._sending is not None
                body, more = self._sending
                await self._send({"type": "http.response.body", "body": body, "more_body": more})
                self._reader.delivered()
                if not more:
                    return
                self._sending = None
                self.write()
        finally:
            self._over = True
            self._timer.cancel()
            if self._direct is not None:
                self._direct.on_writable = None

    def write(self) -> None:
        self._wants = False
        direct = self._direct
        if self._sending is not None or self._over:
            return
        if direct is not None and not direct.may_write:
            # What the client has not read yet is kept in the answer, once for all readers.
            direct.on_writable = self._heard
            return
        self._write(self._frames.news(self._reader), self._reader.take())

    def fail(self, error: Exception) -> None:
        if not self._over and not self._woken.done():
            self._woken.set_exception(error)

    def _heard(self) -> None:
        if self._reader.final is not None:
            self._pace.at_once(self)
        elif not self._wants:
            self._wants = True
            self._pace.wants(self)

    def _write(self, written: bytes, texts: list[str]) -> None:
        reader, final = self._reader, self._reader.final
        if texts:
            text = texts[0] if len(texts) == 1 else "".join(texts)
            written += self._frames.items(text, reader.position)
        if final is not None:
            written += self._frames.ending(reader, final)
        elif not written:
            return
        self.written_at = self._loop.time()
        if final is None and self._direct is not None:
            self._direct.write_piece(written)
            if texts:
                reader.delivered()
            return
        self._hand_over(written, more=final is None)

    def _hand_over(self, written: bytes, *, more: bool) -> None:
        """To the task, which sends it."""
        self._sending = (written, more)
        if not self._woken.done():
            self._woken.set_result(None)

    def _time_up(self) -> None:
        """One timer for many items: it is set anew only when it goes off."""
        now = self._loop.time()
        due = self.written_at + self._keep_alive_s
        if now >= due:
            if self._sending is None:
                self._say_alive()
            due = now + self._keep_alive_s  # Also where a write waits for the client.
        self._timer = self._loop.call_at(due, self._time_up)

    def _say_alive(self) -> None:
        self.written_at = self._loop.time()
        if self._direct is None:
            self._hand_over(KEEP_ALIVE, more=True)
        elif self._direct.may_write:
            self._direct.write_piece(KEEP_ALIVE)
