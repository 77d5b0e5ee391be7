"""Pages and fragments out of templates: everything that stands in them is escaped."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from archipelag_coordinator.apps import cookies
from archipelag_coordinator.apps.web import words
from archipelag_coordinator.apps.web.asking import (
    Visitor,
    form_secret,
    mailbox_for,
    token_of,
    world_of,
)
from archipelag_coordinator.apps.web.assets import Assets
from archipelag_coordinator.apps.web.settings import FORM_COOKIE, THEME_COOKIE

TEMPLATES: Final = Path(__file__).parent / "templates"
THEMES: Final = ("auto", "light", "dark")
DONE: Final = {
    "approved": "Approved. The Island may take work now.",
    "suspended": "Suspended. The Island is cut off, and its work goes to others.",
    "restored": "Restored. The Island may connect again.",
    "cancelled": "Cancelled. You pay for what was delivered until then.",
    "drained": "Draining. It is given nothing more; what runs may finish for a while, then others go on with it.",
    "resumed": "Resumed. It may take work again, unless the machine's own rules say no.",
    "scheduled": "Kept. The machine goes by these hours from its next heartbeat on.",
    "priced": "Kept. It is asked only for what pays at least that.",
    "key-changed": "Changed. It counts from the next request on.",
    "revoked": "Revoked. The key is refused from now on.",
    "session-ended": "That session is signed out.",
    "listed": "Listed. Islands hear of it within seconds.",
    "rejected": "Rejected. Its publisher reads why.",
    "cargo-revoked": "Revoked. No Island runs it any more.",
    "withdrawn": "Withdrawn. It is no longer offered.",
    "granted": "Granted.",
    "granted-before": "This cause has been granted before: nothing was given again.",
    "role": "The role has changed.",
    "user-suspended": "Suspended. Their keys and sessions are refused from now on.",
    "user-restored": "Restored. Their keys and sessions work again.",
}
"""What a page may be told to say by its address: these words, and no others."""


def make_templates(assets: Assets) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "credits": words.credits_text,
        "money": words.money,
        "number": words.number,
        "duration": words.duration,
        "span": words.span,
        "stamp": words.stamp,
        "iso": words.iso,
        "size": words.size,
        "tone": words.tone,
        "points": words.points,
        "snippet": words.snippet,
        "sentence": words.sentence,
        "browser": words.browser,
    }
    environment.globals |= {
        "asset": assets.url,
        "status_of": words.status_of,
        "took": words.took,
        "hardware": words.hardware,
        # Our own file, not anybody's word.
        "mark": Markup(assets.text("mark.svg")),  # noqa: S704
    }
    return environment


def page(
    request: Request, template: str, *, status_code: int = 200, at: str = "", **context: Any
) -> Response:
    """`at` is the room's name in the navigation. `visitor_of` was asked before, where somebody may be signed in."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    now = world_of(request).clock.now()
    text = (
        _templates(request)
        .get_template(template)
        .render(
            visitor=visitor,
            token=token_of(request),
            at=at,
            now=now,
            ago=partial(_ago, now=now),
            theme=theme_of(request),
            here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            done=DONE.get(request.query_params.get("done", "")),
            mailbox=mailbox_for(request) is not None,
            version=world_of(request).version,
            **context,
        )
    )
    response = HTMLResponse(text, status_code=status_code)
    if visitor is None:
        _keep_form_secret(request, response)
    return response


def fragment(request: Request, template: str, **context: Any) -> Response:
    """A part of a page that shows what has changed; 304 where nothing has."""
    now = world_of(request).clock.now()
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    text = (
        _templates(request)
        .get_template(template)
        .render(
            visitor=visitor, token=token_of(request), now=now, ago=partial(_ago, now=now), **context
        )
    )
    etag = f'"{sha256(text.encode()).hexdigest()[:20]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(text, headers=headers)


def go(path: str, done: str = "") -> Response:
    """After a form: on to another page, which says what was done."""
    assert not done or done in DONE
    joined = "&" if "?" in path else "?"
    return RedirectResponse(f"{path}{joined}done={done}" if done else path, status_code=303)


def theme_of(request: Request) -> str:
    given = request.cookies.get(THEME_COOKIE, "auto")
    return given if given in THEMES else "auto"


def _templates(request: Request) -> jinja2.Environment:
    templates = request.app.state.templates
    assert isinstance(templates, jinja2.Environment)
    return templates


def _ago(at: datetime | None, now: datetime) -> Markup:
    told = words.ago(at, now)
    if at is None:
        return Markup(told)  # noqa: S704 - our own word
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        words.iso(at), words.stamp(at), told
    )


def _keep_form_secret(request: Request, response: Response) -> None:
    secret = form_secret(request)
    if request.state.new_form_secret:
        public_url = world_of(request).public_url
        response.set_cookie(
            cookies.prefixed(FORM_COOKIE, public_url),
            secret,
            path="/",
            secure=cookies.is_secure(public_url),
            httponly=True,
            samesite="lax",
        )
