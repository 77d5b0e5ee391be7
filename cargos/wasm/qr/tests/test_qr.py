"""What is drawn is read back by another program's reader."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
import zxingcpp
from PIL import Image

Run = Callable[..., Any]


def read(picture: Image.Image) -> str:
    found = zxingcpp.read_barcodes(picture)
    assert len(found) == 1
    return str(found[0].text)


def from_rows(rows: list[str]) -> Image.Image:
    side = len(rows) + 8
    picture = Image.new("L", (side, side), 255)
    for y, row in enumerate(rows):
        for x, module in enumerate(row):
            picture.putpixel((x + 4, y + 4), 255 * (module == "0"))
    return picture.resize((side * 4, side * 4), Image.Resampling.NEAREST)


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "0123456789" * 30,
        "HELLO WORLD",
        "https://archipelag.example/?q=é",
        "🌊" * 60,
        "a" * 1200,
    ],
)
@pytest.mark.parametrize("level", ["low", "medium"])
def test_png_is_read_back(run: Run, text: str, level: str) -> None:
    said = run("qr", {"text": text, "format": "png", "error_correction": level, "scale": 4}).json

    picture = Image.open(io.BytesIO(base64.b64decode(said["png"])))
    picture.load()
    assert picture.size == ((said["size"] + 8) * 4,) * 2
    assert said["size"] == 17 + 4 * said["version"]
    assert read(picture.convert("L")) == text


def test_all_formats_draw_the_same(run: Run) -> None:
    given = {"text": "the same", "scale": 1, "border": 0}
    rows = run("qr", {**given, "format": "rows"}).json["rows"]
    svg = ET.fromstring(run("qr", {**given, "format": "svg"}).json["svg"])
    png = Image.open(
        io.BytesIO(base64.b64decode(run("qr", {**given, "format": "png"}).json["png"]))
    )

    assert read(from_rows(rows)) == "the same"
    drawn = [["0"] * len(rows) for _ in rows]
    path = svg.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path.attrib["d"]):
        drawn[int(y)][int(x) : int(x) + int(length)] = ["1"] * int(length)
    assert ["".join(row) for row in drawn] == rows
    size = len(rows)
    assert rows == [
        "".join("0" if png.getpixel((x, y)) else "1" for x in range(size)) for y in range(size)
    ]


@pytest.mark.parametrize(("scale", "border"), [(1, 0), (3, 1), (7, 40), (16, 4)])
def test_sizes_of_png_are_right_and_the_file_is_small(run: Run, scale: int, border: int) -> None:
    said = run(
        "qr",
        {
            "text": "x" * 2900,
            "format": "png",
            "error_correction": "low",
            "scale": scale,
            "border": border,
        },
    )

    data = base64.b64decode(said.json["png"])
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert picture.size == ((177 + 2 * border) * scale,) * 2
    assert len(data) < 130_000


def test_a_zero_inside_is_kept(run: Run) -> None:
    rows = run("qr", {"text": "a\u0000b", "format": "rows"}).json["rows"]

    assert read(from_rows(rows)).replace("<NUL>", "\u0000") == "a\u0000b"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "text is missing"),
        ({"text": ""}, "must not be empty"),
        ({"text": "x" * 2954, "error_correction": "low"}, "too long for a QR code"),
        ({"text": "x" * 1300, "error_correction": "high"}, "error_correction high"),
        ({"text": "x" * 3001}, "text is too long"),
        ({"text": "\u0000" * 2954}, "too long for a QR code"),
        ({"text": "x", "scale": 0}, "scale must be"),
        ({"text": "x", "border": 41}, "border must be"),
        ({"text": "x", "format": "gif"}, "format must be one of"),
    ],
)
def test_mistakes_are_told(run: Run, given: Any, why: str) -> None:
    assert why in run("qr", given).bad_input
