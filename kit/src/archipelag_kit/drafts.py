"""A manifest as its author writes it: whole but for the image, which the build adds."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from archipelag_contracts import manifest as manifests
from archipelag_contracts.errors import BadManifest
from archipelag_contracts.manifest import Image, Manifest

# Stands in for the image until there is one; it is never written anywhere.
_NOT_BUILT: Final = Image("not-built", "sha256:" + "0" * 64, 1)


def is_built(manifest: Manifest) -> bool:
    return manifest.image is not None and manifest.image != _NOT_BUILT


def parse_draft(text: str, image: Image | None = None) -> Manifest:
    """The manifest with `image`, or with the one that it names. Raises BadManifest with every problem found."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadManifest([f"not TOML: {error}"]) from None
    if image is not None:
        raw["image"] = vars(image)
    elif raw.get("runtime") != "native":
        raw.setdefault("image", vars(_NOT_BUILT))
    return manifests.build(raw)
