"""Pictures come out in the size that was asked for and look like what Pillow makes; bombs are refused."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

Run = Callable[..., Any]


def drawing(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth, and different in every corner."""
    picture = Image.new("RGB", (width, height))
    for x in range(width):
        for y in range(height):
            picture.putpixel(
                (x, y), (255 * x // width, 255 * y // height, 255 * (x + y) // (width + height))
            )
    return picture.convert(mode)


def encoded(picture: Image.Image, kind: str = "png", **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode()


def decoded(said: Any) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(said["image"])))
    picture.load()
    assert picture.size == (said["width"], said["height"])
    assert said["format"].upper() == picture.format
    return picture


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean over all channels, of 255."""
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


@pytest.mark.parametrize("source", ["png", "jpeg"])
@pytest.mark.parametrize("target", ["png", "jpeg"])
@pytest.mark.parametrize("size", [(50, 40), (300, 240)])
def test_looks_like_what_pillow_makes(
    run: Run, source: str, target: str, size: tuple[int, int]
) -> None:
    picture = drawing(100, 80)
    wanted = picture.resize(size, Image.Resampling.BICUBIC)

    given = {
        "image": encoded(picture, source),
        "width": size[0],
        "height": size[1],
        "format": target,
    }
    said = run("image-resize", {**given, "fit": "stretch"}).json

    assert said["from"] == [100, 80]
    assert difference(decoded(said), wanted) < 4


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({"width": 50}, (50, 25)),
        ({"height": 50}, (100, 50)),
        ({"width": 50, "height": 50}, (50, 25)),
        ({"width": 400, "height": 20}, (40, 20)),
        ({"width": 50, "height": 50, "fit": "cover"}, (50, 50)),
        ({"width": 60, "height": 20, "fit": "cover"}, (60, 20)),
        ({"width": 50, "height": 50, "fit": "stretch"}, (50, 50)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_fits_as_it_was_told(run: Run, wanted: dict[str, Any], size: tuple[int, int]) -> None:
    said = run("image-resize", {"image": encoded(drawing(100, 50)), **wanted}).json

    assert decoded(said).size == size


def test_cover_shows_the_middle(run: Run) -> None:
    picture = drawing(100, 50)

    given = {"image": encoded(picture), "width": 25, "height": 25, "fit": "cover"}
    said = run("image-resize", given).json

    wanted = picture.crop((25, 0, 75, 50)).resize((25, 25), Image.Resampling.BICUBIC)
    assert difference(decoded(said), wanted) < 4


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_png_is_read(run: Run, mode: str) -> None:
    picture = Image.new(mode, (20, 20)) if mode == "I;16" else drawing(20, 20).convert(mode)

    said = run("image-resize", {"image": encoded(picture), "width": 10}).json

    made = decoded(said)
    assert made.mode == ("RGBA" if mode in ("LA", "RGBA") else "RGB")


def test_transparency_survives_in_png_and_gets_a_ground_in_jpeg(run: Run) -> None:
    image = encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0)))

    png = decoded(run("image-resize", {"image": image, "width": 4}).json)
    jpeg = {"image": image, "width": 4, "format": "jpeg"}
    white = decoded(run("image-resize", jpeg).json)
    black = decoded(run("image-resize", {**jpeg, "background": "black"}).json)

    assert png.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert min(white.getpixel((0, 0))) > 250  # type: ignore[arg-type]
    assert max(black.getpixel((0, 0))) < 5  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 100}])
def test_every_kind_of_jpeg_is_read(run: Run, options: dict[str, Any]) -> None:
    picture = drawing(33, 17)

    said = run("image-resize", {"image": encoded(picture, "jpeg", **options), "width": 33}).json

    assert difference(decoded(said), picture) < 4


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> str:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    return base64.b64encode(parts).decode()


@pytest.mark.parametrize(
    "image",
    [
        png(16_000, 16_000, zlib.compress(b"\0" * 1000)),
        png(60_000, 60_000, zlib.compress(b"")),
        png(0, 5, zlib.compress(b"")),
        png(5, 0, zlib.compress(b"")),
        png(4, 4, b"not deflate"),
        png(4, 4, zlib.compress(b"\0")),
        png(4, 4, zlib.compress(b"\7" + b"\0" * 60)),
        png(4, 4, zlib.compress(b"\0" * 52), depth=3),
        png(2**31 - 1, 1, zlib.compress(b"")),
        "",
        base64.b64encode(b"GIF89a" + b"\0" * 50).decode(),
        base64.b64encode(b"\xff\xd8\xff" + b"\xff" * 100).decode(),
    ],
)
def test_broken_and_lying_files_are_refused(run: Run, image: str) -> None:
    said = run("image-resize", {"image": image, "width": 5})

    assert said.bad_input.startswith("image ")


def test_a_small_file_that_swells_is_refused_before_it_fills_the_memory(run: Run) -> None:
    # 4 × 4 pixels by its header, 400 MB of zeros in its data.
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(400)) + packer.flush()
    assert len(bomb) < 500_000

    said = run("image-resize", {"image": png(4, 4, bomb), "width": 5})

    assert said.bad_input or said.error, "it was taken"


@pytest.mark.parametrize("seed", range(30))
def test_damaged_files_never_break_the_module(run: Run, seed: int) -> None:
    kind = "png" if seed % 2 else "jpeg"
    data = bytearray(base64.b64decode(encoded(drawing(20, 20), kind)))
    for i in range(5):
        data[(seed * 7919 + i * 104_729) % len(data)] ^= 1 << (seed + i) % 8

    said = run("image-resize", {"image": base64.b64encode(data).decode(), "width": 5})

    assert said.finish_reason or said.bad_input


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"image": "AAAA"}, "width, height or both"),
        ({"width": 5}, "image is missing"),
        ({"image": "A", "width": 5}, "base64"),
        ({"image": "AAAA", "width": 0}, "width must be"),
        ({"image": "AAAA", "width": 5000}, "width must be"),
        ({"image": "AAAA", "width": 5, "quality": 101}, "quality must be"),
        ({"image": "AAAA", "width": 5, "format": "webp"}, "format must be one of"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("image-resize", given).bad_input


def test_a_result_that_is_too_large_is_refused(run: Run) -> None:
    thin = encoded(drawing(2, 200))

    assert "4096" in run("image-resize", {"image": thin, "width": 4000}).bad_input
