"""The door for Prometheus: whoever has its token, or, where none is set, programs on this machine alone."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH: Final = "/metrics"
FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Who sends one of these stands between us and somebody else."""

Page = Callable[[str], Awaitable[tuple[bytes, str]]]
"""By what the client accepts: the page and its media type."""


class MetricsDoor:
    """Answers `/metrics`, and leaves everything else to `app`."""

    def __init__(self, app: ASGIApp, page: Page, token: str = "", *, shared_port: int = 0) -> None:
        """`shared_port`: where the system deals requests out among several workers; figures of one of them, and of
        another one the next time, would be worse than none."""
        self._app = app
        self._page = page
        self._token = token
        self._shared_port = shared_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        await (await self._answer(Request(scope)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return _refusal(405, "method_not_allowed", f"{request.method} is not possible here")
        refused = self._refused(request)
        if refused is not None:
            return refused
        if self._shared_port and (request.scope.get("server") or ("", 0))[1] == self._shared_port:
            why = "several workers share this port: ask each at its own, from ARCHIPELAG_WORKER_PORT on"
            return _refusal(421, "shared_port", why)
        body, media_type = await self._page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})

    def _refused(self, request: Request) -> Response | None:
        if self._token:
            given = request.headers.get("authorization", "")
            wanted = f"Bearer {self._token}"
            if hmac.compare_digest(given.encode(), wanted.encode()):
                return None
            why = (
                "send the header Authorization: Bearer, with the token of ARCHIPELAG_METRICS_TOKEN"
            )
            return _refusal(401, "invalid_metrics_token", why)
        if is_local(request):
            return None
        why = "figures are for this machine alone until ARCHIPELAG_METRICS_TOKEN is set"
        return _refusal(403, "not_permitted", why)


def is_local(request: Request) -> bool:
    """Whether it comes from a program on this machine, by an address of this machine, and through nobody else.

    The name it asks by counts too: a page in a browser here may have a name of its own lead to this address.
    """
    client = request.client.host if request.client else ""
    named = request.url.hostname or ""
    through = any(name in request.headers for name in FORWARDED)
    return _is_loopback(client) and (named == "localhost" or _is_loopback(named)) and not through


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(status: int, code: str, message: str) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}})
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(body, status, headers=headers, media_type="application/json")
