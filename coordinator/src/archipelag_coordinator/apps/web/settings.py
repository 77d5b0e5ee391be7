"""What the pages are told by whoever puts them together."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from archipelag_coordinator.apps.bodies import Times

FORM_COOKIE: Final = "archipelag_form"
"""Of somebody who is not signed in: what their forms' token is made from."""
THEME_COOKIE: Final = "archipelag_theme"


@dataclass(frozen=True)
class PagesSettings:
    """`unavailable` are the errors by which an adapter says that its server cannot be reached: 503, not 500."""

    form_bytes_max: int = 64 * 1024
    bodies: Times = field(default_factory=Times)
    enrol_address: str = "127.0.0.1:8421"
    """Where Islands enrol, for the commands that are shown."""
    first_user: str = ""
    """Whom the sign-in form names on a machine with a local mailbox."""
    unavailable: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)
    new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
