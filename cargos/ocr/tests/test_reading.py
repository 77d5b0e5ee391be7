"""A picture of words, painted here, is read."""

from pathlib import Path
from typing import Any

import pytest
from archipelag_kit import BadInput
from archipelag_kit.testing import perform
from archipelag_ocr.answers import read, reader
from PIL import Image, ImageDraw, ImageFont

MANIFEST = Path(__file__).parents[1] / "manifest.toml"
FILE = "file_" + "3" * 32


@pytest.fixture(scope="module")
def reads() -> Any:
    pytest.importorskip("rapidocr", reason="needs the Cargos' engines")
    return reader(threads=1)


def painted(path: Path, *lines: str) -> Path:
    picture = Image.new("RGB", (640, 80 * len(lines) + 40), "white")
    pen = ImageDraw.Draw(picture)
    for i, line in enumerate(lines):
        pen.text((40, 30 + 80 * i), line, fill="black", font=ImageFont.load_default(40))
    picture.save(path, "PNG")
    return path


async def test_a_picture_of_words_is_read_with_their_places(reads: Any, tmp_path: Path) -> None:
    picture = painted(tmp_path / FILE, "Hello Island", "Karma 42")

    answer = await perform(
        read, {"file": FILE}, manifest=MANIFEST, files={FILE: picture}, state=reads
    )

    assert answer.value["text"] == "Hello Island\nKarma 42"
    first, second = answer.value["lines"]
    assert first["confidence"] > 0.8
    assert 20 < first["box"][0][0] < 60 and first["box"][0][1] < second["box"][0][1]
    assert answer.prompt_tokens == 1 + 640 * 200 // 100_000


async def test_an_empty_picture_has_no_text(reads: Any, tmp_path: Path) -> None:
    Image.new("RGB", (200, 100), "white").save(tmp_path / FILE, "PNG")

    answer = await perform(
        read, {"file": FILE}, manifest=MANIFEST, files={FILE: tmp_path / FILE}, state=reads
    )

    assert answer.value == {"text": "", "lines": [], "width": 200, "height": 100}


async def test_a_file_that_was_not_sent_is_said() -> None:
    with pytest.raises(BadInput, match="was not sent"):
        await perform(read, {"file": FILE}, manifest=MANIFEST, state=None)
