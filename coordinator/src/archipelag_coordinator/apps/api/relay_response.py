"""The token path: writes a reader's items to the client as prepared bytes, as many at once as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archipelag_coordinator.apps.api.envelope import RAW_SEND
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
        try:
            async with Departure(receive):
                await send(start)
                await self._relay(scope.get(RAW_SEND, send))
        finally:
            self._reader.close()

    async def _relay(self, send: Send) -> None:
        reader, frames = self._reader, self._frames
        texts, final = [*self._first, *reader.take()], reader.final
        written = frames.opening()
        clock = asyncio.get_running_loop()
        alive_at = clock.time() + self._keep_alive_s
        while True:
            if texts:
                text = texts[0] if len(texts) == 1 else "".join(texts)
                written += frames.items(text, reader.position)
            if final is not None:
                written += frames.ending(reader, final)
            if written:
                more = final is None
                await send({"type": "http.response.body", "body": written, "more_body": more})
                alive_at = clock.time() + self._keep_alive_s
                if texts:
                    reader.delivered()
            if final is not None:
                return
            # News that nobody is told of does not put off the next sign of life.
            heard = await reader.wait(max(0.0, alive_at - clock.time()))
            # Both at once, so that nothing comes in between and the end is never told before the last item.
            texts, final = reader.take(), reader.final
            written = frames.news(reader) if heard else KEEP_ALIVE
