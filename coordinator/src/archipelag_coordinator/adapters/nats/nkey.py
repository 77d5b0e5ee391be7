"""NATS's text form of Ed25519 keys: a kind, the key and a checksum in base32 (RFC 4648)."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from archipelag_contracts.signing import SigningKey

OPERATOR: Final = 14 << 3  # "O…"
ACCOUNT: Final = 0  # "A…"
USER: Final = 20 << 3  # "U…"
_SEED: Final = 18 << 3  # "S" and the kind's letter


def public(kind: int, key: bytes) -> str:
    """The public key as everybody may see it."""
    assert len(key) == 32
    return _text(bytes([kind]) + key)


def seed(kind: int, key: SigningKey) -> str:
    """The private key as a file holds it. Never logged, never sent."""
    return _text(bytes([_SEED | kind >> 5, (kind & 31) << 3]) + key.seed())


def from_seed(kind: int, text: str) -> SigningKey:
    """Raises ValueError when it is not a seed of that kind."""
    try:
        raw = base64.b32decode(text.strip() + "=" * (-len(text.strip()) % 8))
    except ValueError:
        raise ValueError("not a NATS seed") from None
    if len(raw) != 36 or raw[:2] != bytes([_SEED | kind >> 5, (kind & 31) << 3]):
        raise ValueError("not a NATS seed of this kind")
    if binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little") != raw[-2:]:
        raise ValueError("a NATS seed with a wrong checksum")
    return SigningKey.from_seed(raw[2:-2])


def _text(raw: bytes) -> str:
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")
