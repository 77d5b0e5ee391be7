"""cosign's key-based signatures: ECDSA P-256 over a simple-signing document that names an OCI manifest by digest.

As `cosign sign --key` writes and `cosign verify --key` reads them (sigstore/cosign, specs/SIGNATURE_SPEC.md).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from archipelag_contracts.errors import BadSignature

ARTIFACT_TYPE: Final = "application/vnd.archipelag.cargo.v1+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"
SIGNATURE_TYPE: Final = "cosign container image signature"
PAYLOAD_BYTES_MAX: Final = 8 * 1024

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CURVE: Final = ec.SECP256R1


class CosignKey:
    """A P-256 private key. Never printed, never sent."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        if not isinstance(private.curve, _CURVE):
            raise BadSignature(f"a key on curve {private.curve.name}; cosign's are P-256")
        self._private = private
        self.public: Final = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def generate(cls) -> CosignKey:
        return cls(ec.generate_private_key(_CURVE()))

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> CosignKey:
        """From PKCS #8. Raises BadSignature for what is no such key, or when the passphrase is wrong."""
        try:
            private = serialization.load_pem_private_key(pem, passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadSignature(f"not a private key that can be read: {error}") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise BadSignature("not an elliptic-curve key")
        return cls(private)

    def private_pem(self, passphrase: bytes | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    @property
    def public_pem(self) -> bytes:
        return public_pem(self.public)

    def sign(self, payload: bytes) -> bytes:
        """ECDSA with SHA-256 over the payload, as DER. The nonce follows from both (RFC 6979)."""
        return self._private.sign(payload, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def __repr__(self) -> str:
        return f"CosignKey({fingerprint(self.public)})"


def public_pem(public: bytes) -> bytes:
    """Raises BadSignature."""
    return _public(public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_from_pem(pem: bytes) -> bytes:
    """The DER form of a P-256 public key. Raises BadSignature."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadSignature("not a public key in PEM") from None
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _public(der)
    return der


def fingerprint(public: bytes) -> str:
    """SHA-256 of the key's DER form, as people compare it."""
    return "sha256:" + hashlib.sha256(public).hexdigest()


def payload(reference: str, digest: str) -> bytes:
    """The simple-signing document for an OCI manifest; `reference` is its repository, without tag or digest."""
    assert _DIGEST.fullmatch(digest)
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": digest},
            "type": SIGNATURE_TYPE,
        },
        "optional": None,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def digest_in(payload: bytes) -> str:
    """The digest that a simple-signing document is about. Raises BadSignature."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise BadSignature("the signed document is too large")
    try:
        critical: Any = json.loads(payload)["critical"]
        kind, digest = critical["type"], critical["image"]["docker-manifest-digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadSignature("not a simple-signing document") from None
    if kind not in (SIGNATURE_TYPE, "atomic container signature"):
        raise BadSignature("not a signature over a container image")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BadSignature("the signed document names no digest")
    return digest


def verify(public: bytes, payload: bytes, signature: bytes, digest: str) -> None:
    """Raises BadSignature unless the key signed a document about this very digest."""
    verify_blob(public, payload, signature)
    if digest_in(payload) != digest:
        raise BadSignature("the signature is for something else")


def verify_blob(public: bytes, blob: bytes, signature: bytes) -> None:
    """As `cosign verify-blob --key` does it. Raises BadSignature unless the key signed these very bytes."""
    try:
        _public(public).verify(signature, blob, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError):
        raise BadSignature("the signature does not hold") from None


def artifact_manifest(canonical: bytes) -> bytes:
    """The OCI manifest of the artifact that carries a Cargo's canonical manifest: its digest is what is signed."""
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": _sha256(EMPTY), "size": len(EMPTY)},
        "layers": [
            {"mediaType": ARTIFACT_TYPE, "digest": _sha256(canonical), "size": len(canonical)}
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def artifact_digest(canonical: bytes) -> str:
    """The digest under which a Cargo's artifact lies in a registry."""
    return _sha256(artifact_manifest(canonical))


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _public(der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise BadSignature("not a public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVE):
        raise BadSignature("not a P-256 public key")
    return key
