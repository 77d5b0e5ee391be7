"""A browser session: a key whose secret lives in a cookie, and the token that shows a request was meant."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Final

from archipelag_contracts.ids import ApiKeyId, UserId

from archipelag_coordinator.domain.user import KEY_PREFIX_LENGTH, ApiKey, KeyKind, Scope
from archipelag_coordinator.errors import NotAuthenticated, NotPermitted

SESSION_SHAPE: Final = re.compile(r"as_[0-9A-Za-z]{43}")
SESSION_NAME: Final = "browser"
USER_AGENT_MAX: Final = 300
_CSRF: Final = b"archipelag csrf 1\n"


def hash_session(secret: str) -> bytes:
    """What is stored of a session. Raises NotAuthenticated when it is not of a session's shape."""
    if not SESSION_SHAPE.fullmatch(secret):
        raise NotAuthenticated("this cookie is not a session of this network: sign in again")
    return hashlib.sha256(secret.encode()).digest()


def csrf_of(secret: str) -> str:
    """The token for this session's forms and scripts. Pages of other sites cannot read it, nor make it."""
    tag = hmac.new(secret.encode(), _CSRF, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(tag).decode().rstrip("=")


def check_csrf(secret: str, given: str | None) -> None:
    """Raises NotPermitted unless `given` is this session's token."""
    if not hmac.compare_digest(csrf_of(secret).encode(), (given or "").encode()):
        raise NotPermitted("this session's token in X-CSRF-Token: load the page again")


def new_session(
    key_id: ApiKeyId,
    user_id: UserId,
    secret: str,
    *,
    user_agent: str,
    now: datetime,
    life_s: float,
    rate_per_minute: int | None = None,
) -> ApiKey:
    """A session with the given secret, which may do whatever its user may."""
    return ApiKey(
        id=key_id,
        user_id=user_id,
        name=SESSION_NAME,
        prefix=secret[:KEY_PREFIX_LENGTH],
        hash=hash_session(secret),
        scopes=frozenset(Scope),
        created_at=now,
        expires_at=now + timedelta(seconds=life_s),
        rate_per_minute=rate_per_minute,
        kind=KeyKind.SESSION,
        user_agent=_shown(user_agent),
    )


def _shown(user_agent: str) -> str:
    """Strangers choose it and people read it: one line of a bounded length."""
    printable = "".join(c if c.isprintable() else " " for c in user_agent[: 2 * USER_AGENT_MAX])
    return " ".join(printable.split())[:USER_AGENT_MAX]
