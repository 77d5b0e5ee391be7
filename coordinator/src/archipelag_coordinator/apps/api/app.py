"""The public HTTP API as one ASGI application. Nothing here decides: it authenticates, parses, calls and presents."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archipelag_coordinator.apps.api import (
    account,
    admin,
    audio,
    batches,
    chat,
    conversations,
    docs,
    embeddings,
    files,
    images,
    jobs,
    money,
    network,
    openid,
    operating,
    orders,
    people,
    publishing,
    releases,
    sessions,
    why,
)
from archipelag_coordinator.apps.api.envelope import Envelope
from archipelag_coordinator.apps.api.errors import (
    INTERNAL_MESSAGE,
    BadRequest,
    MethodNotAllowed,
    Problem,
    Unavailable,
    problem_of,
)
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.apps.api.openapi import describe
from archipelag_coordinator.apps.api.pace import Pace
from archipelag_coordinator.apps.bodies import Times
from archipelag_coordinator.apps.ops import health
from archipelag_coordinator.errors import CoordinatorError, InvalidInput, NotFound
from archipelag_coordinator.services.world import World

BASE = "/api/v1"
OPENAI_BASE = "/v1"
_OURS = ("/api/", f"{OPENAI_BASE}/")
_PROVIDER = "/openid/"


@dataclass(frozen=True)
class ApiSettings:
    """`unavailable` are the errors by which an adapter says that its server cannot be reached: 503, not 500."""

    body_bytes_max: int = 1024 * 1024
    bodies: Times = field(default_factory=Times)
    links: Links = field(default_factory=lambda: Links(secrets.token_bytes(32)))
    """Signs links to files; without a secret that is passed in, they are good in this process only."""
    journey_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Seals what a browser carries to a provider of sign-in and back; the same in every process of a network."""
    releases: Path | None = None
    """The folder with releases of the Island's software; None: none are handed out."""
    unavailable: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)


def create_app(
    world: World,
    *,
    settings: ApiSettings | None = None,
    broker_connected: Callable[[], bool] | None = None,
    stream_says: Callable[[], Awaitable[str]] | None = None,
    pages: ASGIApp | None = None,
    pace: Pace | None = None,
    new_request_id: Callable[[], str] = lambda: f"req_{uuid.uuid4().hex}",
) -> ASGIApp:
    """`broker_connected` is what readiness asks beside the database. `stream_says` tells in words how what is kept at
    the broker stands, and raises where it does not answer. `pages` answers whatever is not the API's. `pace` is
    that of all streams of this process."""
    app = _bare(world.version)
    app.state.world = world
    app.state.settings = settings or ApiSettings()
    app.state.checks = {"broker": broker_connected} if broker_connected is not None else {}
    app.state.stream = stream_says
    routes, app.openapi_schema = _doors(world.version)
    app.router.routes.extend(routes)
    _answer_errors(app)
    whole = app if pages is None else Beside(app, pages)
    return Envelope(whole, new_request_id, world.tally, world.traces, pace)


@cache
def _doors(version: str) -> tuple[list[BaseRoute], dict[str, Any]]:
    """Routes and their description: the same for every application of a process, and dear to make."""
    app = _bare(version)
    openai = (chat, embeddings, images, audio, files)
    for router in (*(one.router for one in openai), network.models):
        app.include_router(router, prefix=BASE)
        app.include_router(router, prefix=OPENAI_BASE)
    for router in (
        files.links,
        account.router,
        sessions.router,
        batches.router,
        jobs.router,
        money.router,
        orders.router,
        why.router,
        conversations.router,
        network.router,
        publishing.router,
        admin.router,
        people.router,
        operating.router,
        health.router,
    ):
        app.include_router(router, prefix=BASE)
    app.include_router(openid.router, include_in_schema=False)
    app.include_router(docs.router, prefix=BASE, include_in_schema=False)
    app.include_router(releases.router, prefix=BASE, include_in_schema=False)
    return app.routes, describe(app)


def _bare(version: str) -> FastAPI:
    return FastAPI(
        title="Archipelag",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )


class Beside:
    """Two applications behind one door: the API below its bases, the pages everywhere else.

    The doors to a provider of sign-in are the API's, but it is people who stand at them: what goes wrong there is told
    by the page where they came from.
    """

    def __init__(self, api: ASGIApp, pages: ASGIApp) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope.get('path', '')}/"
        if scope["type"] != "http" or path.startswith(_OURS):
            await self._api(scope, receive, send)
        elif path.startswith(_PROVIDER):
            await self._api(scope, receive, _Led(send))
        else:
            await self._pages(scope, receive, send)


class _Led:
    """Instead of an error, the way to the sign-in page, with the error's status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._refused = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._refused = True
            where = b"/sign-in?refused=%d" % message["status"]
            headers = [(b"location", where), (b"content-length", b"0")]
            message = {**message, "status": 303, "headers": headers}
        elif self._refused:
            message = {**message, "body": b""}
        await self._send(message)


def _answer_errors(app: FastAPI) -> None:
    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, CoordinatorError)
        problem = problem_of(error)
        request.app.state.world.tally.refused[problem.code] += 1
        return respond(problem)

    async def from_routing(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond(_routing_problem(request, error))

    async def from_parameters(request: Request, error: Exception) -> Response:  # noqa: ARG001
        assert isinstance(error, RequestValidationError)
        fields: dict[str, list[str]] = {}
        for one in error.errors():
            name = ".".join(str(part) for part in one["loc"][1:]) or "request"
            fields.setdefault(name, []).append(str(one["msg"]))
        return respond(problem_of(InvalidInput(fields)))

    async def unavailable(request: Request, _: Exception) -> Response:
        request.app.state.world.tally.refused["unavailable"] += 1
        return respond(problem_of(Unavailable("the network's database or broker is out of reach")))

    async def our_mistake(request: Request, _: Exception) -> Response:
        request.app.state.world.tally.refused["internal_error"] += 1
        return respond(Problem(500, "internal_error", INTERNAL_MESSAGE))

    # Told here, logged by the envelope, which the error goes on to.
    app.add_exception_handler(Exception, our_mistake)
    app.add_exception_handler(CoordinatorError, expected)
    app.add_exception_handler(HTTPException, from_routing)
    app.add_exception_handler(RequestValidationError, from_parameters)
    for kind in app.state.settings.unavailable:
        app.add_exception_handler(kind, unavailable)


def _routing_problem(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return problem_of(NotFound("route", f"{request.method} {request.url.path}"))
    if error.status_code == 405:
        problem = problem_of(MethodNotAllowed(f"{request.method} is not possible here"))
        headers = {k: v for k, v in (error.headers or {}).items() if k.lower() == "allow"}
        return Problem(problem.status, problem.code, problem.message, headers=headers)
    return problem_of(BadRequest(str(error.detail)))


def respond(problem: Problem) -> Response:
    return Response(
        problem.as_json(),
        status_code=problem.status,
        headers=dict(problem.headers),
        media_type="application/json",
    )
