"""Counts what the HTTP door answers, and begins the trace of each request."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archipelag_coordinator.services.world import World

TRACEPARENT: Final = b"traceparent"


class Watched:
    """Stands inside the envelope: pieces of a stream go past it, to the server itself."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tally = self._world.tally

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                tally.requests[message["status"]] += 1
            await send(message)

        given = b"".join(value for name, value in scope["headers"] if name == TRACEPARENT)
        with self._world.traces.request(f"{scope['method']}", given.decode("latin-1")):
            await self._app(scope, receive, counting)
