"""Image manifests, indexes and configs of OCI and Docker, parsed strictly and within limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from archipelag_oci import descriptor, media, strict
from archipelag_oci.descriptor import ANNOTATIONS_MAX, Descriptor, Platform
from archipelag_oci.errors import BadDocument, NoPlatform
from archipelag_oci.reference import is_digest

MANIFEST_BYTES_MAX: Final = 4 << 20
CONFIG_BYTES_MAX: Final = 1 << 20
LAYERS_MAX: Final = 127
INDEX_ENTRIES_MAX: Final = 256
ARGUMENTS_MAX: Final = 1024

_ARM64_VARIANTS: Final = ("", "v8")


@dataclass(frozen=True)
class ImageManifest:
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Of all that it names, as it lies in the registry."""
        return self.config.size + sum(layer.size for layer in self.layers)

    def encode(self) -> bytes:
        whole: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            whole["artifactType"] = self.artifact_type
        whole["config"] = self.config.document()
        whole["layers"] = [layer.document() for layer in self.layers]
        if self.annotations:
            whole["annotations"] = dict(self.annotations)
        return strict.canonical(whole)


@dataclass(frozen=True)
class Index:
    media_type: str
    manifests: tuple[Descriptor, ...]

    def pick(self, wanted: Platform) -> Descriptor:
        """The first entry for a platform. Raises NoPlatform."""
        for entry in self.manifests:
            if entry.platform is not None and fits(entry.platform, wanted):
                return entry
        there = sorted({str(each.platform) for each in self.manifests if each.platform})
        raise NoPlatform(
            f"there is no image for {wanted}, only for {', '.join(there[:8]) or 'nothing'}"
        )


@dataclass(frozen=True)
class ImageConfig:
    """What a runtime must know of an image."""

    platform: Platform
    diff_ids: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The whole command line of the image."""
        return self.entrypoint + self.command


def parse_manifest(data: bytes, media_type: str = "") -> ImageManifest | Index:
    """`media_type` is what the registry called it; the document itself must not say otherwise."""
    document = strict.parse_object(data, "the manifest", MANIFEST_BYTES_MAX)
    if document.get("schemaVersion") != 2:
        raise BadDocument("the manifest is not of schema version 2")
    own = strict.text(document, "mediaType", "the manifest")
    announced = media_type.partition(";")[0].strip()
    kind = own or announced
    if own and announced in (*media.MANIFESTS, *media.INDEXES) and own != announced:
        raise BadDocument(f"the manifest calls itself {own[:80]!r}, its registry {announced!r}")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise BadDocument("the manifest is both an image and an index: no reader would agree")
    if kind in media.INDEXES:
        return _index(document, kind)
    if kind in media.MANIFESTS:
        return _image(document, kind)
    raise BadDocument(f"{kind[:80]!r} is no manifest that this version reads")


def parse_image_manifest(data: bytes, media_type: str = "") -> ImageManifest:
    """Where an index would be no answer."""
    found = parse_manifest(data, media_type)
    if not isinstance(found, ImageManifest):
        raise BadDocument("an index stands where a manifest should")
    return found


def parse_config(data: bytes) -> ImageConfig:
    what = "the image's config"
    document = strict.parse_object(data, what, CONFIG_BYTES_MAX)
    roots = strict.inner(document, "rootfs", what)
    if roots.get("type") != "layers":
        raise BadDocument(f"{what} has no root of layers")
    diff_ids = strict.strings(roots, "diff_ids", what, LAYERS_MAX)
    if not all(is_digest(each) for each in diff_ids):
        raise BadDocument(f"{what}: a diff_id is no SHA-256 digest")
    run = strict.inner(document, "config", what)
    working_dir = strict.text(run, "WorkingDir", what) or "/"
    if not working_dir.startswith("/") or ".." in working_dir.split("/"):
        raise BadDocument(f"{what}: {working_dir[:80]!r} is no working directory")
    return ImageConfig(
        Platform(
            strict.text(document, "os", what, None),
            strict.text(document, "architecture", what, None),
            strict.text(document, "variant", what),
        ),
        diff_ids,
        strict.strings(run, "Entrypoint", what, ARGUMENTS_MAX),
        strict.strings(run, "Cmd", what, ARGUMENTS_MAX),
        tuple(_variable(each) for each in strict.strings(run, "Env", what, ARGUMENTS_MAX)),
        working_dir,
        strict.text(run, "User", what),
        strict.pairs(run, "Labels", what, ARGUMENTS_MAX),
    )


def _image(document: Mapping[str, Any], kind: str) -> ImageManifest:
    config = descriptor.parse(strict.inner(document, "config", "the manifest"), "the config")
    layers = strict.objects(document, "layers", "the manifest", LAYERS_MAX)
    return ImageManifest(
        kind,
        config,
        tuple(descriptor.parse(each, f"layer {i}") for i, each in enumerate(layers)),
        strict.text(document, "artifactType", "the manifest"),
        strict.pairs(document, "annotations", "the manifest", ANNOTATIONS_MAX),
    )


def _index(document: Mapping[str, Any], kind: str) -> Index:
    entries = strict.objects(document, "manifests", "the index", INDEX_ENTRIES_MAX)
    return Index(
        kind, tuple(descriptor.parse(each, f"entry {i}") for i, each in enumerate(entries))
    )


def fits(offered: Platform, wanted: Platform) -> bool:
    """Whether an image for one platform runs on another."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return False
    if wanted.architecture == "arm64":
        return offered.variant in _ARM64_VARIANTS
    return offered.variant in ("", wanted.variant)


def _variable(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not name or not equals:
        raise BadDocument(f"the image's config: {line[:80]!r} sets no variable")
    return name, value
