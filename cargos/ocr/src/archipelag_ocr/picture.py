"""Opens a stranger's picture: a few formats, a bound on its pixels, upright, and small enough to be read in time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from archipelag_kit import BadInput
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
PIXELS_MAX: Final = 50_000_000
SIDE_MAX: Final = 3_000


def opened(path: Path) -> Image.Image:
    """Raises BadInput."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of what it thinks too large; the bound below is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > PIXELS_MAX:
                    raise BadInput(
                        f"file: the picture has more than {PIXELS_MAX // 10**6} million pixels"
                    )
                upright = ImageOps.exif_transpose(picture)
                return upright.convert("RGB")
    except UnidentifiedImageError:
        raise BadInput(f"file: must be a picture: {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"file: the picture is broken: {type(error).__name__}") from None


def fitted(picture: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """For the reader, blue first as OpenCV has it, and by how much it was made smaller."""
    scale = min(1.0, SIDE_MAX / max(picture.size))
    if scale < 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels: NDArray[Any] = np.asarray(picture)[:, :, ::-1]
    return np.ascontiguousarray(pixels), scale
