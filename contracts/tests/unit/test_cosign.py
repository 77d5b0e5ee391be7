"""cosign's signatures: what holds holds, and nothing else does."""

from __future__ import annotations

import json

import pytest
from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
KEY = CosignKey.generate()


def test_what_a_key_signed_holds_for_that_digest() -> None:
    payload = cosign.payload("registry.example/hash", DIGEST)

    cosign.verify(KEY.public, payload, KEY.sign(payload), DIGEST)


@pytest.mark.parametrize("change", ["key", "digest", "payload", "signature", "empty"])
def test_what_was_changed_does_not_hold(change: str) -> None:
    payload = cosign.payload("registry.example/hash", DIGEST)
    public, signature, digest = KEY.public, KEY.sign(payload), DIGEST
    match change:
        case "key":
            public = CosignKey.generate().public
        case "digest":
            digest = OTHER
        case "payload":
            payload = cosign.payload("registry.example/other", DIGEST)
        case "signature":
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        case _:
            signature = b""

    with pytest.raises(BadSignature):
        cosign.verify(public, payload, signature, digest)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"critical":{"type":"x","image":{"docker-manifest-digest":"' + DIGEST.encode() + b'"}}}',
        json.dumps({"critical": {"type": cosign.SIGNATURE_TYPE, "image": {}}}).encode(),
        cosign.payload("r", DIGEST).replace(b"sha256:", b"sha1:"),
        b'{"critical":' + b"[" * 5000,
        cosign.payload("r" * 9000, DIGEST),
    ],
)
def test_a_document_that_names_no_digest_is_refused(payload: bytes) -> None:
    with pytest.raises(BadSignature):
        cosign.digest_in(payload)


def test_keys_of_other_kinds_are_refused() -> None:
    other_curve = ec.generate_private_key(ec.SECP384R1())
    der = other_curve.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    edwards = ed25519.Ed25519PrivateKey.generate()
    edwards_pem = edwards.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    payload = cosign.payload("r", DIGEST)

    for key in (der, b"", b"not a key"):
        with pytest.raises(BadSignature):
            cosign.verify(key, payload, KEY.sign(payload), DIGEST)
    with pytest.raises(BadSignature):
        CosignKey.from_pem(edwards_pem)
    with pytest.raises(BadSignature):
        CosignKey(other_curve)


def test_a_key_survives_its_pem_and_needs_its_passphrase() -> None:
    locked = KEY.private_pem(b"secret")

    assert CosignKey.from_pem(locked, b"secret").public == KEY.public
    assert cosign.public_from_pem(KEY.public_pem) == KEY.public
    for passphrase in (None, b"wrong"):
        with pytest.raises(BadSignature):
            CosignKey.from_pem(locked, passphrase)
    assert "PRIVATE" not in repr(KEY)


def test_an_artifact_is_determined_by_the_manifest() -> None:
    document = json.loads(cosign.artifact_manifest(b"{}"))

    assert document["artifactType"] == cosign.ARTIFACT_TYPE
    assert document["layers"][0]["size"] == 2
    assert cosign.artifact_digest(b"{}") != cosign.artifact_digest(b"{} ")
