"""Ed25519 over bytes as they travel, digests, and the hash chain of an answer.

Ed25519 is RFC 8032; every signature covers a prefix that names the kind of message, so that bytes signed as one kind
can never be presented as another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.message import DecodeError, Message

from archipelag_contracts.errors import BadMessage, BadSignature
from archipelag_contracts.ids import CargoDigest
from archipelag_contracts.pb.archipelag.v1.common_pb2 import Signed

CHAIN_START: Final = bytes(32)
MANIFEST_PREFIX: Final = b"archipelag.v1.manifest\n"
"""Before the canonical bytes of a manifest, which are signed as they are."""

M = TypeVar("M", bound=Message)


class SigningKey:
    """An Ed25519 private key that signs messages. Never printed, never sent."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: Final = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """From the 32 bytes of RFC 8032's private key."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def seed(self) -> bytes:
        return self._private.private_bytes_raw()

    def sign(self, prefix: bytes, payload: bytes) -> bytes:
        """A 64-byte signature over `prefix` and `payload`."""
        return self._private.sign(prefix + payload)

    def seal(self, message: Message) -> bytes:
        """The message, serialised once and signed as those bytes: a serialised `Signed`."""
        payload = message.SerializeToString()
        signature = self.sign(_prefix(type(message)), payload)
        return Signed(
            payload=payload, signature=signature, public_key=self.public
        ).SerializeToString()

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()})"


def _prefix(kind: type[Message]) -> bytes:
    return f"{kind.DESCRIPTOR.full_name}\n".encode()


def verify(public_key: bytes, prefix: bytes, payload: bytes, signature: bytes) -> None:
    """Raises BadSignature unless `signature` is the key's over `prefix` and `payload`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, prefix + payload)
    except (InvalidSignature, ValueError):
        raise BadSignature("the signature does not hold") from None


def open_sealed(data: bytes, kind: type[M], trusted: Container[bytes]) -> M:
    """The message inside a serialised `Signed`, once its signer is in `trusted` and the signature holds.

    Raises BadMessage or BadSignature.
    """
    try:
        envelope = Signed.FromString(data)
    except DecodeError:
        raise BadMessage("not a signed message") from None
    if envelope.public_key not in trusted:
        raise BadSignature("the signer is not trusted")
    verify(envelope.public_key, _prefix(kind), envelope.payload, envelope.signature)
    try:
        return kind.FromString(envelope.payload)
    except DecodeError:
        raise BadMessage(f"not a {kind.DESCRIPTOR.full_name}") from None


def digest(data: bytes) -> CargoDigest:
    """`sha256:<hex>` of the bytes."""
    return CargoDigest("sha256:" + hashlib.sha256(data).hexdigest())


def chain(items: Iterable[tuple[str, int]], start: bytes = CHAIN_START) -> bytes:
    """Hash chain over (text, token) items: h' = SHA-256(h ‖ length ‖ text ‖ token), integers little-endian, 32 bits."""
    state = start
    for text, token in items:
        data = text.encode()
        state = hashlib.sha256(
            state + len(data).to_bytes(4, "little") + data + token.to_bytes(4, "little")
        ).digest()
    return state
