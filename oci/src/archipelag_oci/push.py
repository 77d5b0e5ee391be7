"""Images and artifacts on their way to a registry: blobs first, so that a manifest never names what is not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from archipelag_contracts import cosign

from archipelag_oci import descriptor, media
from archipelag_oci.descriptor import Descriptor
from archipelag_oci.image import ImageFile
from archipelag_oci.manifests import ImageManifest
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Registry
from archipelag_oci.upload import Source


async def push_image(
    registry: Registry, reference: Reference, image: ImageFile, *, mount_from: str = ""
) -> str:
    """Gives the digest to name it by. `mount_from`: a repository of that registry that may have its layers."""
    for layer in image.layers:
        await registry.push_blob(reference, Source(layer.descriptor, layer.path), mount_from)
    config = descriptor.of(media.CONFIG, image.config)
    await registry.push_blob(reference, Source(config, image.config))
    return await registry.push_manifest(reference, image.manifest, media.MANIFEST)


async def push_artifact(
    registry: Registry,
    reference: Reference,
    data: bytes | Path,
    layer_type: str,
    config_type: str = media.EMPTY,
    *,
    title: str = "",
) -> str:
    """One blob under a manifest of its own: a WASM module or a model's file."""
    layer = _describe(data, layer_type, title)
    config = descriptor.of(config_type, cosign.EMPTY)
    artifact = layer_type if config_type == media.EMPTY else ""
    manifest = ImageManifest(media.MANIFEST, config, (layer,), artifact)
    await registry.push_blob(reference, Source(layer, data))
    await registry.push_blob(reference, Source(config, cosign.EMPTY))
    return await registry.push_manifest(reference, manifest.encode(), media.MANIFEST)


async def push_cargo(registry: Registry, reference: Reference, canonical: bytes) -> str:
    """The artifact of a Cargo's manifest, whose digest follows from the manifest alone."""
    layer = descriptor.of(media.CARGO, canonical)
    await registry.push_blob(reference, Source(layer, canonical))
    config = descriptor.of(media.EMPTY, cosign.EMPTY)
    await registry.push_blob(reference, Source(config, cosign.EMPTY))
    manifest = cosign.artifact_manifest(canonical)
    return await registry.push_manifest(reference, manifest, media.MANIFEST)


def _describe(data: bytes | Path, media_type: str, title: str) -> Descriptor:
    annotations = {media.TITLE: title} if title else {}
    if isinstance(data, bytes):
        return descriptor.of(media_type, data, annotations)
    with data.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    return Descriptor(media_type, digest, data.stat().st_size, annotations)
