"""Signing in by a mailed link, and out again; in an embedded network also the mailbox where the link lies."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from archipelag_coordinator.apps.cookies import clear_session, set_session
from archipelag_coordinator.apps.web.asking import (
    local_path,
    mailbox_for,
    settings_of,
    signed_in,
    visitor_of,
    world_of,
)
from archipelag_coordinator.apps.web.forms import read_form
from archipelag_coordinator.apps.web.queries import word_in
from archipelag_coordinator.apps.web.render import go, page
from archipelag_coordinator.errors import (
    InvalidInput,
    LinkNotValid,
    NotFound,
    NotPermitted,
    Unsupported,
)
from archipelag_coordinator.services import sessions
from archipelag_coordinator.services import sign_in as verbs

EMAIL_LENGTH_MAX: Final = 254
LETTERS_SHOWN: Final = 50
REFUSED: Final = ("403", "422", "429", "503")
"""What may have gone wrong on the way over a provider of sign-in, by its status."""
_LINK: Final = re.compile(r"/sign-in/al_[0-9A-Za-z]{43}")


async def get_sign_in(request: Request) -> Response:
    back = local_path(request.query_params.get("next"))
    if await visitor_of(request) is not None:
        return go(back)
    return _form(request, back)


async def post_sign_in(request: Request) -> Response:
    form = await read_form(request)
    email = form.text("email", EMAIL_LENGTH_MAX * 2)
    back = local_path(form.values.get("next"))
    client = request.client.host if request.client else "unknown"
    try:
        await verbs.ask_for_link(world_of(request), email, back, client=client)
    except (InvalidInput, Unsupported) as error:
        told = error.errors if isinstance(error, InvalidInput) else {"email": [str(error)]}
        return _form(request, back, email=email, errors=told, status=422)
    # Shown at once and not by a redirect: the address would have to stand in one.
    return page(request, "sign_in_sent.html", email=email)


async def get_link(request: Request) -> Response:
    """A button only: programs that guard mailboxes open links."""
    await visitor_of(request)
    secret = request.path_params["secret"]
    try:
        link = await verbs.look_at_link(world_of(request), secret)
    except LinkNotValid as error:
        return _not_valid(request, error)
    return page(request, "sign_in_link.html", email=link.email, secret=secret)


async def post_link(request: Request) -> Response:
    await read_form(request)
    world = world_of(request)
    agent = request.headers.get("user-agent", "")
    try:
        signed = await verbs.sign_in(world, request.path_params["secret"], agent)
    except LinkNotValid as error:
        return _not_valid(request, error)
    except NotPermitted as error:
        return page(
            request, "sign_in_link.html", status_code=403, email="", secret="", refused=str(error)
        )
    back = signed.next_path
    response = go("/quickstart" if signed.fresh and back == "/" else back)
    set_session(response, signed.secret, world.public_url, world.policy.session_s)
    return response


async def post_sign_out(request: Request) -> Response:
    await read_form(request)
    visitor = await visitor_of(request)
    world = world_of(request)
    if visitor is not None:
        await sessions.sign_out(world, visitor.user.id, visitor.key.id)
    response = go("/")
    clear_session(response, world.public_url)
    return response


async def post_sign_out_everywhere(request: Request) -> Response:
    await read_form(request)
    visitor = await signed_in(request)
    world = world_of(request)
    await sessions.sign_out_everywhere(world, visitor.user)
    response = RedirectResponse("/", 303)
    clear_session(response, world.public_url)
    return response


async def get_mailbox(request: Request) -> Response:
    """Only where mail stays on this machine, and only for those who sit at it. Raises NotFound elsewhere."""
    await visitor_of(request)
    mailbox = mailbox_for(request)
    if mailbox is None:
        raise NotFound("page", "/mailbox")
    letters = await mailbox.newest(LETTERS_SHOWN)
    shown = [(letter, _link_in(letter.text)) for letter in letters]
    return page(request, "mailbox.html", letters=shown)


def _link_in(text: str) -> str:
    """The path of our own link in a letter; nothing else of it becomes one."""
    found = _LINK.search(text)
    return found.group() if found else ""


def _form(
    request: Request,
    back: str,
    *,
    email: str = "",
    errors: object = None,
    status: int = 200,
) -> Response:
    sends = world_of(request).mail is not None
    here = mailbox_for(request) is not None
    return page(
        request,
        "sign_in.html",
        status_code=status,
        back=back,
        email=email or (settings_of(request).first_user if here else ""),
        errors=errors or {},
        sends=sends,
        provider=world_of(request).identity_provider is not None,
        refused=word_in(request, "refused", REFUSED),
    )


def _not_valid(request: Request, error: LinkNotValid) -> Response:
    return page(request, "sign_in_over.html", status_code=410, why=error.reason)


ROUTES: Final = (
    Route("/sign-in", get_sign_in),
    Route("/sign-in", post_sign_in, methods=["POST"]),
    Route("/sign-in/{secret}", get_link),
    Route("/sign-in/{secret}", post_link, methods=["POST"]),
    Route("/sign-out", post_sign_out, methods=["POST"]),
    Route("/sign-out-everywhere", post_sign_out_everywhere, methods=["POST"]),
    Route("/mailbox", get_mailbox),
)
