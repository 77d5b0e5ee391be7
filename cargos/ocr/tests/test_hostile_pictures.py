"""Pictures made to harm are refused with a sentence before they take memory."""

import io
import os
import zlib
from pathlib import Path

import pytest
from archipelag_kit import BadInput
from archipelag_ocr.picture import fitted, opened
from PIL import Image


def png_of(width: int, height: int) -> bytes:
    """A few hundred bytes that say they are a picture of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + check

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    rows = zlib.compress(bytes(1 << 16), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [7_100, 65_535, (1 << 31) - 1])
def test_a_picture_of_any_size_is_refused(side: int, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(png_of(side, side))

    with pytest.raises(BadInput, match=r"^file: "):
        opened(tmp_path / "bomb")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        os.urandom(5_000),
        png_of(100, 100)[:60],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    ],
    ids=["empty", "random", "cut", "eps", "svg"],
)
def test_what_is_no_picture_is_refused(content: bytes, tmp_path: Path) -> None:
    """EPS above all: Pillow would start Ghostscript."""
    (tmp_path / "bad").write_bytes(content)

    with pytest.raises(BadInput, match=r"^file: "):
        opened(tmp_path / "bad")


def test_a_picture_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    lying = Image.new("RGB", (40, 20), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    written = io.BytesIO()
    lying.save(written, "JPEG", exif=exif)
    (tmp_path / "a").write_bytes(written.getvalue())

    assert opened(tmp_path / "a").size == (20, 40)


def test_a_large_picture_is_made_smaller_and_by_how_much_is_known() -> None:
    pixels, scale = fitted(Image.new("RGB", (6_000, 1_000), "red"))

    assert pixels.shape == (500, 3_000, 3)
    assert scale == 0.5
    assert pixels[0, 0].tolist() == [0, 0, 255]
