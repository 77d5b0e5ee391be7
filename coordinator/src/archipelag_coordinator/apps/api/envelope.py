"""The outermost layer: an id and a trace for every request, the headers of every response, and the last catch."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archipelag_coordinator.apps.api.auth import HEADERS
from archipelag_coordinator.apps.api.errors import CLIENT_GONE, INTERNAL_MESSAGE, Problem
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.domain.tally import Tally
from archipelag_coordinator.services.ports_of_traces import NoTraces, Traces

log = logging.getLogger(__name__)

RAW_SEND: Final = "archipelag.send"
"""The server's own `send` in the ASGI scope: the token path writes to it, past every layer in between."""
PACE: Final = "archipelag.pace"
"""Of all streams of this process, in the ASGI scope."""
_REQUEST_ID: Final = re.compile(rb"[0-9A-Za-z._:-]{1,64}")
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class Envelope:
    """`new_id` makes a request's id where the client sent none of the right shape."""

    def __init__(
        self,
        app: ASGIApp,
        new_id: Callable[[], str],
        tally: Tally | None = None,
        traces: Traces | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._app = app
        self._new_id = new_id
        self._tally = tally or Tally()
        self._traces = traces or NoTraces()
        self._pace = pace or Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        headers: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id)]
        scope[HEADERS] = headers
        scope[RAW_SEND] = send
        scope[PACE] = self._pace
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._tally.requests[message["status"]] += 1
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                always = [header for header in _ALWAYS if header[0] not in names]
                message = {**message, "headers": [*own, *headers, *always]}
            await send(message)

        try:
            with self._traces.request(scope["method"], _traceparent(scope)):
                await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # In the middle of its own request: nobody is there to be told, and nothing of ours has failed.
            self._tally.requests[CLIENT_GONE] += 1
        except Exception:
            log.exception("request_failed request=%s path=%s", request_id.decode(), scope["path"])
            if not started:
                await _fail(send_with_headers)

    def _request_id(self, scope: Scope) -> bytes:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                return bytes(value)
        return self._new_id().encode()


def _traceparent(scope: Scope) -> str:
    """As the client sent it; empty where it sent none, or several."""
    sent = [value for name, value in scope["headers"] if name == b"traceparent"]
    return sent[0].decode("latin-1") if len(sent) == 1 else ""


async def _fail(send: Send) -> None:
    body = Problem(500, "internal_error", INTERNAL_MESSAGE).as_json()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
