"""NATS JWTs, version 2: claims about operators, accounts and users, signed with Ed25519 keys of NATS's form."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from archipelag_contracts.signing import SigningKey

_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}


def encode(
    key: SigningKey,
    *,
    issuer: str,
    subject: str,
    name: str,
    nats: Mapping[str, Any],
    issued_at: int,
    expires_at: int | None = None,
) -> str:
    """A signed token. Times in Unix seconds; `nats` holds what this kind of token says."""
    claims: dict[str, Any] = {
        "iat": issued_at,
        "iss": issuer,
        "name": name,
        "sub": subject,
        "nats": {**nats, "version": 2},
    }
    if expires_at is not None:
        claims["exp"] = expires_at
    # The id is a digest of the claims without it, so that equal claims are equal tokens.
    hashed = hashlib.new("sha512_256", _json(claims)).digest()
    claims["jti"] = base64.b32encode(hashed).decode().rstrip("=")
    body = f"{base64url(_json(_HEADER))}.{base64url(_json(claims))}"
    return f"{body}.{base64url(key.sign(b'', body.encode()))}"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
