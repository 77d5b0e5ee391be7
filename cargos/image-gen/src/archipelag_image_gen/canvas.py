"""From a model's picture to the one that was asked for, as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, PngImagePlugin

from archipelag_image_gen.asked import Asked


def fit(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarged by Lanczos to the shorter side, then its edges drawn out to the longer one: nothing is cut or bent."""
    if picture.size == (width, height):
        return picture
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    enlarged = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    around = ((top, height - size[1] - top), (left, width - size[0] - left), (0, 0))
    return Image.fromarray(np.pad(enlarged, around, mode="edge"))


def png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def signed_png(picture: Image.Image, native: Image.Image, asked: Asked, model: str) -> bytes:
    """With what it was made of inside: whoever finds the file can make it again, and sees its true resolution."""
    told = PngImagePlugin.PngInfo()
    told.add_itxt("Software", f"archipelag image-gen, {model}")
    told.add_itxt("Description", asked.prompt)
    told.add_text("archipelag:native", f"{native.width}x{native.height}")
    told.add_text("archipelag:seed", str(asked.seed))
    told.add_text("archipelag:steps", str(asked.steps))
    told.add_text("archipelag:guidance_scale", repr(asked.guidance_scale))
    told.add_text("archipelag:made-by", "a machine")
    written = io.BytesIO()
    picture.save(written, "PNG", pnginfo=told)
    return written.getvalue()
