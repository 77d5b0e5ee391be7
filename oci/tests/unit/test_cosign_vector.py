"""A signature that cosign itself made holds here, where no cosign is installed; changed in any part, it does not."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from archipelag_contracts import cosign
from archipelag_oci import signatures
from archipelag_oci.errors import NotSigned, OciError
from archipelag_oci.reference import parse, sha256
from archipelag_oci.registry import Registry
from archipelag_oci.settings import Settings

VECTOR = json.loads((Path(__file__).parent / "cosign_vector.json").read_text())
PUBLIC = cosign.public_from_pem(VECTOR["public_pem"].encode())


async def verified(manifest: str, payload: str, digest: str) -> signatures.Signature:
    def answer(request: httpx.Request) -> httpx.Response:
        async def body() -> object:
            yield (payload if "/blobs/" in request.url.path else manifest).encode()

        return httpx.Response(200, content=body())  # type: ignore[arg-type]

    async with Registry(
        Settings(attempts_max=1), transport=httpx.MockTransport(answer)
    ) as registry:
        return await signatures.verify(registry, parse(f"r.example/golden@{digest}"), [PUBLIC])


async def test_cosigns_own_signature_holds() -> None:
    found = await verified(VECTOR["manifest"], VECTOR["payload"], VECTOR["digest"])

    assert found.public == PUBLIC


async def test_it_does_not_hold_for_another_digest() -> None:
    with pytest.raises(NotSigned):
        await verified(VECTOR["manifest"], VECTOR["payload"], "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    ("old", "new"),
    [("null}", "5678}"), (VECTOR["digest"], "sha256:" + "0" * 64), ("golden", "gilden")],
)
async def test_changed_payload_does_not_hold(old: str, new: str) -> None:
    payload = VECTOR["payload"].replace(old, new)
    # The registry lies twice, so that only the signature is left to tell.
    manifest = VECTOR["manifest"].replace(
        sha256(VECTOR["payload"].encode()), sha256(payload.encode())
    )
    digest = VECTOR["digest"].replace(old, new)

    with pytest.raises(NotSigned):
        await verified(manifest, payload, digest)
    with pytest.raises(OciError):
        await verified(VECTOR["manifest"], payload, digest)


async def test_changed_signature_does_not_hold() -> None:
    signature = json.loads(VECTOR["manifest"])["layers"][0]["annotations"][signatures.ANNOTATION]
    changed = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]

    with pytest.raises(NotSigned):
        await verified(
            VECTOR["manifest"].replace(signature, changed), VECTOR["payload"], VECTOR["digest"]
        )
