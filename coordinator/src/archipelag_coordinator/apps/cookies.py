"""The session's cookie: its name, how it is set and read, and which requests a browser may send with it.

Shared by the API and the pages. Nothing here looks into the database.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response

from archipelag_coordinator.errors import NotAuthenticated, NotPermitted

COOKIE: Final = "archipelag_session"
JOURNEY: Final = "archipelag_journey"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE: Final = frozenset({"GET", "HEAD"})


def cookie_name(public_url: str) -> str:
    """Over https with the prefix by which browsers refuse a cookie that a neighbouring host has set."""
    return prefixed(COOKIE, public_url)


def session_secret(request: Request, public_url: str) -> str | None:
    """What stands in the cookie; None without one. Raises NotAuthenticated where there are two: one is a stranger's."""
    return _read(request, cookie_name(public_url))


def journey(request: Request, public_url: str) -> str | None:
    """What the browser carries while its person is away at a provider of sign-in."""
    return _read(request, prefixed(JOURNEY, public_url))


def _read(request: Request, name: str) -> str | None:
    found = [
        value.strip()
        for header in request.headers.getlist("cookie")
        for key, _, value in (part.partition("=") for part in header.split(";"))
        if key.strip() == name
    ]
    if len(found) > 1:
        raise NotAuthenticated(f"more than one cookie {name}: delete this site's cookies")
    return found[0] if found and found[0] else None


def set_session(response: Response, secret: str, public_url: str, life_s: float) -> None:
    _set(response, COOKIE, secret, public_url, life_s)


def clear_session(response: Response, public_url: str) -> None:
    _set(response, COOKIE, "", public_url, 0)


def set_journey(response: Response, sealed: str, public_url: str, life_s: float) -> None:
    _set(response, JOURNEY, sealed, public_url, life_s)


def clear_journey(response: Response, public_url: str) -> None:
    _set(response, JOURNEY, "", public_url, 0)


def _set(response: Response, name: str, value: str, public_url: str, life_s: float) -> None:
    response.set_cookie(
        prefixed(name, public_url),
        value,
        max_age=int(life_s),
        path="/",
        secure=is_secure(public_url),
        httponly=True,
        # A page of the provider's leads back here, by a link: `strict` would leave the cookie behind.
        samesite="lax",
    )


def check_same_origin(request: Request, public_url: str) -> None:
    """For what changes something: raises NotPermitted where the browser says that another site's page sent it.

    Also for forms that nobody is signed in for yet, or others could sign a visitor in as somebody else.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    # Older browsers say only where the page came from, and `null` where they keep that to themselves.
    foreign = origin is not None and origin.lower() != public_url.lower().rstrip("/")
    if site not in (None, "same-origin") or (site is None and foreign):
        raise NotPermitted("a page of this site to send it")


def check_looked_at(request: Request) -> None:
    """For what only reads: a page of this site, or the person themselves, must have asked for it."""
    if request.headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
        raise NotPermitted("a page of this site to send it")


def prefixed(name: str, public_url: str) -> str:
    """Over https, a name that no neighbouring host can set."""
    return f"__Host-{name}" if is_secure(public_url) else name


def is_secure(public_url: str) -> bool:
    return public_url.startswith("https://")
