"""A picture in a Cargo's result: what it is by its own bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archipelag_coordinator.apps.api.errors import BadResult
from archipelag_coordinator.domain.media import media_type_of


@dataclass(frozen=True)
class Picture:
    """What a Cargo drew."""

    encoded: str
    data: bytes
    media_type: str


def picture_of(value: Mapping[str, Any]) -> Picture:
    """Raises BadResult for what is no picture, whatever it calls itself."""
    encoded = value.get("image_data")
    if not isinstance(encoded, str):
        raise BadResult("the Cargo answered without a picture")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadResult("the Cargo's picture is not in base64") from None
    media_type = media_type_of(data)
    if not media_type.startswith("image/"):
        raise BadResult("what the Cargo drew is no picture")
    return Picture(encoded, data, media_type)


def size_text(value: Mapping[str, Any]) -> str:
    width, height = value.get("width"), value.get("height")
    return f"{width}x{height}" if isinstance(width, int) and isinstance(height, int) else "auto"
