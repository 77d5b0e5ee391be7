"""From a digest to files on this disk: an image's config and layers, or an artifact's one blob."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipelag_oci import media
from archipelag_oci.cache import BlobCache
from archipelag_oci.descriptor import Descriptor, Platform
from archipelag_oci.download import Progress, ignore
from archipelag_oci.errors import BadDocument, BadReference, NoPlatform, TooLarge
from archipelag_oci.manifests import (
    CONFIG_BYTES_MAX,
    MANIFEST_BYTES_MAX,
    ImageConfig,
    ImageManifest,
    Index,
    fits,
    parse_config,
    parse_manifest,
)
from archipelag_oci.reference import Reference
from archipelag_oci.registry import Fetched, Registry

LAYERS_AT_ONCE: Final = 3


@dataclass(frozen=True)
class Limits:
    """What a pull may bring, as it lies in the registry: compressed."""

    bytes_max: int = 16 << 30
    layers_max: int = 127


@dataclass(frozen=True)
class Layer:
    path: Path
    compression: str
    diff_id: str


@dataclass(frozen=True)
class Image:
    reference: Reference
    """By the digest that was asked for, which may be an index's."""
    manifest: ImageManifest
    config: ImageConfig
    layers: tuple[Layer, ...]
    blobs: tuple[str, ...]
    """Digests of all that lies in the cache for it: what to pin."""


@dataclass(frozen=True)
class Artifact:
    reference: Reference
    manifest: ImageManifest
    path: Path
    title: str
    """The file's name as its author says; empty if he does not, and never a path."""
    blobs: tuple[str, ...]


async def pull_image(
    registry: Registry,
    reference: Reference,
    cache: BlobCache,
    platform: Platform,
    limits: Limits = Limits(),
    progress: Progress = ignore,
) -> Image:
    """By digest only: what a tag means may change between its check and its use. Raises errors of the tree."""
    fetched = await _by_digest(registry, reference, cache)
    found = parse_manifest(fetched.data, fetched.media_type)
    if isinstance(found, Index):
        entry = found.pick(platform)
        fetched = await _by_digest(registry, reference.at(entry.digest), cache)
        found = parse_manifest(fetched.data, fetched.media_type)
        if isinstance(found, Index):
            raise BadDocument(f"{reference} is an index of indexes")
    _check_image(found, limits)
    config = parse_config(await _config(registry, reference, found, cache))
    if not fits(config.platform, platform):
        raise NoPlatform(f"{reference} is for {config.platform}, this machine is {platform}")
    if len(config.diff_ids) != len(found.layers):
        raise BadDocument(f"{reference}: its config speaks of other layers than its manifest")
    turn = asyncio.Semaphore(LAYERS_AT_ONCE)

    async def one(layer: Descriptor, diff_id: str) -> Layer:
        async with turn:
            path = await _blob(registry, reference, layer, cache, progress)
        return Layer(path, media.COMPRESSION[layer.media_type], diff_id)

    pairs = list(zip(found.layers, config.diff_ids, strict=True))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(layer, diff_id)) for layer, diff_id in pairs]
    except* Exception as failures:
        raise failures.exceptions[0] from None
    return Image(
        reference, found, config, tuple(task.result() for task in tasks), _blobs(fetched, found)
    )


async def pull_artifact(
    registry: Registry,
    reference: Reference,
    cache: BlobCache,
    layer_type: str,
    limits: Limits = Limits(),
    progress: Progress = ignore,
) -> Artifact:
    """A WASM module, a model file or a Cargo's manifest: the one layer, of the type that is expected."""
    fetched = await _by_digest(registry, reference, cache)
    found = parse_manifest(fetched.data, fetched.media_type)
    if not isinstance(found, ImageManifest) or len(found.layers) != 1:
        raise BadDocument(f"{reference} is no artifact of one layer")
    layer = found.layers[0]
    if layer.media_type != layer_type:
        raise BadDocument(f"{reference} holds {layer.media_type!r} and not {layer_type!r}")
    _check_size(found, limits)
    path = await _blob(registry, reference, layer, cache, progress)
    return Artifact(reference, found, path, _title(layer), _blobs(fetched, found))


async def _by_digest(registry: Registry, reference: Reference, cache: BlobCache) -> Fetched:
    """Manifests lie in the cache too, so that a warm image needs no registry."""
    if not reference.digest:
        raise BadReference(f"{reference} is a tag: pull by digest, `{reference.name}@sha256:…`")
    known = await asyncio.to_thread(cache.get, reference.digest)
    if known is not None:
        data = await asyncio.to_thread(_small, known, MANIFEST_BYTES_MAX, "the manifest")
        return Fetched(data, "", reference.digest)
    fetched = await registry.manifest(reference)
    await asyncio.to_thread(cache.put, reference.digest, fetched.data)
    return fetched


async def _config(
    registry: Registry, reference: Reference, manifest: ImageManifest, cache: BlobCache
) -> bytes:
    known = await asyncio.to_thread(cache.get, manifest.config.digest)
    if known is not None:
        return await asyncio.to_thread(_small, known, CONFIG_BYTES_MAX, "the config")
    data = await registry.blob(reference, manifest.config, CONFIG_BYTES_MAX)
    await asyncio.to_thread(cache.put, manifest.config.digest, data)
    return data


def _small(path: Path, bytes_max: int, what: str) -> bytes:
    """The blob may be anything that some image brought here, such as a layer. Raises TooLarge."""
    size = path.stat().st_size
    if size > bytes_max:
        raise TooLarge(f"{what} has {size} bytes; {bytes_max} at most")
    return path.read_bytes()


async def _blob(
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    cache: BlobCache,
    progress: Progress,
) -> Path:
    known = await asyncio.to_thread(cache.get, blob.digest)
    while known is None:
        async with cache.filling(blob.digest, blob.size) as part:
            if part is not None:
                await registry.blob_to_file(reference, blob, part, progress)
                known = await asyncio.to_thread(cache.admit, blob.digest, part)
        known = known or await asyncio.to_thread(cache.get, blob.digest)
    if known.stat().st_size != blob.size:
        raise BadDocument(f"{reference}: {blob.digest} has another size than its manifest says")
    progress(blob.digest, blob.size, blob.size)
    return known


def _check_image(found: ImageManifest, limits: Limits) -> None:
    if found.config.media_type not in media.CONFIGS:
        raise BadDocument(f"{found.config.media_type!r} is no image's config")
    for layer in found.layers:
        if layer.media_type not in media.COMPRESSION:
            raise BadDocument(f"a layer of type {layer.media_type!r} is not read")
    if len(found.layers) > limits.layers_max:
        raise TooLarge(f"{len(found.layers)} layers; {limits.layers_max} at most")
    _check_size(found, limits)


def _check_size(found: ImageManifest, limits: Limits) -> None:
    if found.size_bytes > limits.bytes_max:
        raise TooLarge(f"{found.size_bytes} bytes to pull; {limits.bytes_max} at most")


def _blobs(fetched: Fetched, found: ImageManifest) -> tuple[str, ...]:
    return (fetched.digest, found.config.digest, *(layer.digest for layer in found.layers))


def _title(layer: Descriptor) -> str:
    title = layer.annotations.get(media.TITLE, "")
    if "/" in title or "\\" in title or title.startswith(".") or not title.isprintable():
        raise BadDocument(f"{title[:80]!r} is no file's name")
    return title
