"""What an OCI document says of another: its type, digest and size."""

from __future__ import annotations

import platform as machine
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from archipelag_oci import strict
from archipelag_oci.errors import BadDocument
from archipelag_oci.reference import is_digest, sha256

ANNOTATIONS_MAX: Final = 64

_MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9!#$&^_.+-]{1,127}"
)
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "AMD64": "amd64"}


@dataclass(frozen=True)
class Platform:
    """What an image runs on, in OCI's words."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str = ""

    def document(self) -> dict[str, Any]:
        """As it is written."""
        whole: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.annotations:
            whole["annotations"] = dict(self.annotations)
        if self.platform is not None:
            whole["platform"] = {
                "os": self.platform.os,
                "architecture": self.platform.architecture,
            } | ({"variant": self.platform.variant} if self.platform.variant else {})
        return whole


def of(media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """Of bytes that are here."""
    return Descriptor(media_type, sha256(data), len(data), annotations or {})


def parse(document: Mapping[str, Any], what: str) -> Descriptor:
    """Raises BadDocument. Only SHA-256; `urls` and `data` are not followed: a layer lies in its registry."""
    media_type = strict.text(document, "mediaType", what, None)
    digest = strict.text(document, "digest", what, None)
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise BadDocument(f"{what}: {media_type[:80]!r} is no media type")
    if not is_digest(digest):
        raise BadDocument(f"{what}: {digest[:80]!r} is no SHA-256 digest")
    return Descriptor(
        media_type,
        digest,
        strict.number(document, "size", what),
        strict.pairs(document, "annotations", what, ANNOTATIONS_MAX),
        _platform(document, what),
        strict.text(document, "artifactType", what),
    )


def this_machine() -> Platform:
    """Images are Linux's; only the processor differs."""
    name = machine.machine()
    return Platform("linux", _MACHINES.get(name, name.lower() or sys.platform))


def _platform(document: Mapping[str, Any], what: str) -> Platform | None:
    found = strict.inner(document, "platform", what)
    if not found:
        return None
    return Platform(
        strict.text(found, "os", what, None),
        strict.text(found, "architecture", what, None),
        strict.text(found, "variant", what),
    )
