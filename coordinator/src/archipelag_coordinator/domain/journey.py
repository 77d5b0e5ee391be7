"""What a browser carries while its person is away at a provider of sign-in, sealed so that nobody else can make it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from archipelag_coordinator.errors import IdentityRefused

LIFE: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Journey:
    """`state` comes back with the browser, `nonce` inside the provider's token; `verifier` shows who asked (PKCE)."""

    state: str
    nonce: str
    verifier: str
    next_path: str
    expires_at: datetime

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier beforehand."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    def check_state(self, given: str) -> None:
        """Raises IdentityRefused: this answer belongs to another browser, or to another try."""
        if not hmac.compare_digest(self.state.encode(), given.encode()):
            raise IdentityRefused("this answer belongs to another try")


def sealed(journey: Journey, key: bytes) -> str:
    """For a cookie: whoever has it can read it, and nobody can change it."""
    told = [journey.state, journey.nonce, journey.verifier, journey.next_path]
    body = json.dumps([*told, int(journey.expires_at.timestamp())]).encode()
    return f"{_text(body)}.{_text(_tag(body, key))}"


def opened(text: str | None, key: bytes, now: datetime) -> Journey:
    """Raises IdentityRefused for what we did not seal, and for what has taken too long."""
    begun, _, tag = (text or "").partition(".")
    try:
        body, given = _bytes(begun), _bytes(tag)
    except (binascii.Error, ValueError):
        body, given = b"", b""
    if not hmac.compare_digest(_tag(body, key), given):
        raise IdentityRefused("this browser has not begun to sign in, or lost its cookie")
    state, nonce, verifier, next_path, until = json.loads(body)
    expires_at = datetime.fromtimestamp(until, UTC)
    if now >= expires_at:
        raise IdentityRefused("that took too long")
    return Journey(state, nonce, verifier, next_path, expires_at)


def _tag(body: bytes, key: bytes) -> bytes:
    assert len(key) >= 32, "a key that is no key seals nothing"
    return hmac.new(key, b"archipelag journey 1\n" + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
