"""The pages as one ASGI application, beside the API: routes, headers that every response carries, errors as pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archipelag_coordinator.apps.bodies import HANG_UP
from archipelag_coordinator.apps.web import (
    admin,
    admin_cargos,
    admin_people,
    chat,
    islands,
    jobs,
    keys,
    landing,
    metrics,
    money,
    network,
    orders,
    quickstart,
    sessions,
    sign_in,
)
from archipelag_coordinator.apps.web.asking import (
    AccountSuspended,
    RoleNeeded,
    SignInNeeded,
    visitor_of,
)
from archipelag_coordinator.apps.web.assets import Assets, serve
from archipelag_coordinator.apps.web.forms import FormRefused, FormUnreadable
from archipelag_coordinator.apps.web.render import make_templates, page
from archipelag_coordinator.apps.web.settings import PagesSettings
from archipelag_coordinator.errors import (
    Conflict,
    CoordinatorError,
    InvalidInput,
    NotFound,
    NotPermitted,
    RateLimited,
    TooLarge,
    TooSlow,
)
from archipelag_coordinator.services.world import World

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Within these pages a browser says where it comes from: forms are told from other sites' by it.
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ROOMS: Final = (
    landing,
    sign_in,
    quickstart,
    chat,
    jobs,
    islands,
    orders,
    network,
    money,
    keys,
    sessions,
    admin,
    admin_cargos,
    admin_people,
    metrics,
)
_STATUS: Final[tuple[tuple[type[CoordinatorError], int], ...]] = (
    (AccountSuspended, 403),
    (RoleNeeded, 403),
    (FormRefused, 403),
    (NotPermitted, 403),
    (NotFound, 404),
    (TooSlow, 408),
    (Conflict, 409),
    (TooLarge, 413),
    (InvalidInput, 422),
    (RateLimited, 429),
    (FormUnreadable, 400),
)


def create_pages(world: World, settings: PagesSettings | None = None) -> ASGIApp:
    """Everything that stands at `/` beside the API."""
    chosen = settings or PagesSettings()
    assets, templates = _drawn()

    async def get_asset(request: Request) -> Response:
        return serve(assets, request) or _plain_not_found()

    async def get_icon(request: Request) -> Response:  # noqa: ARG001
        return RedirectResponse(assets.url("favicon.svg"), status_code=302)

    routes = [
        Route("/static/{name:path}", get_asset),
        Route("/favicon.ico", get_icon),
        *(route for room in _ROOMS for route in room.ROUTES),
    ]
    app = Starlette(routes=routes, exception_handlers=_handlers(chosen))
    app.router.redirect_slashes = False
    app.state.world = world
    app.state.settings = chosen
    app.state.assets = assets
    app.state.templates = templates
    return _Headers(app)


@cache
def _drawn() -> tuple[Assets, Environment]:
    """Read, pressed and compiled once, however many applications there are in a process."""
    assets = Assets()
    return assets, make_templates(assets)


class _Headers:
    """Puts the headers on every response, that of an error too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                added = [
                    (name.encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.encode() not in names
                ]
                message = {**message, "headers": [*own, *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _handlers(
    settings: PagesSettings,
) -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    return {
        CoordinatorError: _expected,
        HTTPException: _from_routing,
        Exception: _our_mistake,
        **dict.fromkeys(settings.unavailable, _unavailable),
    }


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, CoordinatorError)
    live = request.url.path.startswith("/live/")
    if isinstance(error, SignInNeeded):
        # A part of a page cannot sign anybody in: its script loads the whole page, which can.
        return Response(status_code=401) if live else RedirectResponse(error.address, 303)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, RateLimited):
        response = page(
            request, "error.html", status_code=status, code=status, kind=error.code, why=str(error)
        )
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        return response
    response = await _told(request, status, error.code, "" if status == 500 else str(error))
    if isinstance(error, TooSlow):
        response.headers.update(HANG_UP)
    return response


async def _from_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return await _told(request, error.status_code, "not_found", "")


async def _our_mistake(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Told here, logged by the envelope, which the error goes on to."""
    return page(request, "error.html", status_code=500, code=500, kind="error", why="")


async def _unavailable(request: Request, error: Exception) -> Response:  # noqa: ARG001
    response = page(request, "error.html", status_code=503, code=503, kind="unavailable", why="")
    response.headers["Retry-After"] = "5"
    return response


async def _told(request: Request, status: int, kind: str, why: str) -> Response:
    with suppress(CoordinatorError):
        await visitor_of(request)  # Else it is told as to a stranger.
    return page(request, "error.html", status_code=status, code=status, kind=kind, why=why)


def _plain_not_found() -> Response:
    return PlainTextResponse("not found", 404)
