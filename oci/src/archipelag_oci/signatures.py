"""cosign's signatures where cosign keeps them: beside the image, at the tag `sha256-HEX.sig`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from archipelag_contracts import cosign
from archipelag_contracts.cosign import CosignKey
from archipelag_contracts.errors import BadSignature

from archipelag_oci import descriptor, media, strict
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.errors import BadDocument, NotInRegistry, NotSigned, TooLarge
from archipelag_oci.manifests import ImageManifest, parse_image_manifest
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Registry
from archipelag_oci.upload import Source

SIGNATURES_MAX: Final = 32
SIGNATURE_CHARACTERS_MAX: Final = 512
ANNOTATION: Final = "dev.cosignproject.cosign/signature"


@dataclass(frozen=True)
class Signature:
    """Who signed a digest, with what was signed."""

    public: bytes
    payload: bytes
    signature: bytes


def place(reference: Reference) -> Reference:
    """Where the signatures over a digest lie."""
    assert reference.digest
    return reference.at(reference.digest.replace(":", "-") + ".sig")


async def sign(registry: Registry, reference: Reference, key: CosignKey) -> Signature:
    """Signs what stands at a digest, beside what others have signed. The same key signs once."""
    assert reference.digest
    payload = cosign.payload(reference.name, reference.digest)
    manifest = await _signatures(registry, reference)
    for layer in manifest.layers if manifest else ():
        if layer.digest == descriptor.of(media.COSIGN_LAYER, payload).digest:
            known = _signed_by(layer, payload, reference, (key.public,))
            if known is not None:
                return known
    signature = key.sign(payload)
    await attach(registry, reference, payload, signature)
    return Signature(key.public, payload, signature)


async def attach(
    registry: Registry, reference: Reference, payload: bytes, signature: bytes
) -> None:
    """Puts a signature that was made elsewhere beside its image, after those that are there."""
    cosign.digest_in(payload)
    layer = descriptor.of(
        media.COSIGN_LAYER, payload, {ANNOTATION: base64.b64encode(signature).decode()}
    )
    manifest = await _signatures(registry, reference)
    layers = (*(manifest.layers if manifest else ()), layer)
    if len(layers) > SIGNATURES_MAX:
        raise TooLarge(f"{reference} has {SIGNATURES_MAX} signatures already")
    config = _config(layers)
    there = place(reference)
    await registry.push_blob(there, Source(layer, payload))
    await registry.push_blob(there, Source(descriptor.of(media.CONFIG, config), config))
    whole = ImageManifest(media.MANIFEST, descriptor.of(media.CONFIG, config), layers)
    await registry.push_manifest(there, whole.encode(), media.MANIFEST)


async def verify(registry: Registry, reference: Reference, trusted: Collection[bytes]) -> Signature:
    """The first signature over this very digest by a trusted key (DER). Raises NotSigned for anything less."""
    assert reference.digest
    if not trusted:
        raise NotSigned(f"{reference}: no key is trusted; name the publisher's")
    try:
        manifest = await _signatures(registry, reference)
        if manifest is None:
            raise NotSigned(f"{reference} has no signature: its publisher must sign it")
        for layer in manifest.layers:
            found = await _verified(registry, reference, layer, trusted)
            if found is not None:
                return found
    except (BadDocument, TooLarge) as error:
        raise NotSigned(f"{reference}: its signatures cannot be read: {error}") from error
    raise NotSigned(
        f"{reference}: none of its {len(manifest.layers)} signatures is by a trusted key over this digest"
    )


async def _verified(
    registry: Registry, reference: Reference, layer: Descriptor, trusted: Collection[bytes]
) -> Signature | None:
    if layer.media_type != media.COSIGN_LAYER or ANNOTATION not in layer.annotations:
        return None
    try:
        payload = await registry.blob(place(reference), layer, cosign.PAYLOAD_BYTES_MAX)
    except (NotInRegistry, TooLarge):
        return None
    return _signed_by(layer, payload, reference, trusted)


def _signed_by(
    layer: Descriptor, payload: bytes, reference: Reference, trusted: Collection[bytes]
) -> Signature | None:
    text = layer.annotations.get(ANNOTATION, "")
    if len(text) > SIGNATURE_CHARACTERS_MAX:
        return None
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    for public in trusted:
        try:
            cosign.verify(public, payload, signature, reference.digest)
        except BadSignature:
            continue
        return Signature(public, payload, signature)
    return None


async def _signatures(registry: Registry, reference: Reference) -> ImageManifest | None:
    try:
        fetched = await registry.manifest(place(reference))
    except NotInRegistry:
        return None
    manifest = parse_image_manifest(fetched.data, fetched.media_type)
    if len(manifest.layers) > SIGNATURES_MAX:
        raise TooLarge(f"{len(manifest.layers)} signatures; {SIGNATURES_MAX} at most")
    return manifest


def _config(layers: tuple[Descriptor, ...]) -> bytes:
    """What cosign writes: an image's config without an image, so that every registry takes it."""
    return strict.canonical(
        {
            "architecture": "",
            "created": "0001-01-01T00:00:00Z",
            "history": [{"created": "0001-01-01T00:00:00Z"} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "config": {},
        }
    )
