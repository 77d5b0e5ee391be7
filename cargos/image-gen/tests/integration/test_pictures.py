"""The model that comes along paints what it is asked for; ten prompts are kept as a sheet for people to look at."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archipelag_image_gen.answers import paint
from archipelag_image_gen.asked import Stopped, read
from archipelag_image_gen.small import SmallPainter, trailing
from archipelag_kit.testing import perform
from PIL import Image, ImageDraw

MANIFEST = Path(__file__).parents[2] / "manifest.toml"
# Prompt, its colour in the middle, and that of its ground.
TEN = [
    ("a big red circle on a white background", "red", "white"),
    ("a big blue square on a black background", "blue", "black"),
    ("a big green triangle on a white background", "green", "white"),
    ("a big yellow star on a black background", "yellow", "black"),
    ("a big purple heart on a white background", "purple", "white"),
    ("a big orange diamond on a gray background", "orange", "gray"),
    ("a big cyan cross on a black background", "cyan", "black"),
    ("a small pink circle on a gray background", "", "gray"),
    ("a small blue star on a white background", "", "white"),
    ("a big red ring on a white background", "", "white"),
]
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 40),
    "purple": (150, 60, 190),
    "orange": (245, 140, 30),
    "cyan": (40, 200, 210),
    "white": (255, 255, 255),
    "black": (10, 10, 10),
    "gray": (128, 128, 128),
}


def opened(answer: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer.value["image_data"]))).convert("RGB")


def nearest(pixels: np.ndarray[Any, Any]) -> str:
    seen = np.median(pixels.reshape(-1, 3), axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(seen - COLOURS[name]).sum()))


async def test_ten_prompts_are_painted_in_their_colours(
    painter: SmallPainter, artifacts: Path
) -> None:
    sheet = Image.new("RGB", (5 * 200, 2 * 226), "white")
    wrong = []
    for i, (prompt, colour, ground) in enumerate(TEN):
        said = {"prompt": prompt, "seed": i, "width": 192, "height": 192, "steps": 20}

        answer = await perform(paint, said, manifest=MANIFEST, state=painter)

        picture = opened(answer)
        pixels = np.asarray(picture)
        corners = pixels[[2, 2, -3, -3], [2, -3, 2, -3]]
        if nearest(corners) != ground or (colour and nearest(pixels[84:108, 84:108]) != colour):
            wrong.append(prompt)
        sheet.paste(picture, (i % 5 * 200 + 4, i // 5 * 226 + 4))
        label = prompt.removeprefix("a ").replace(" background", "")
        ImageDraw.Draw(sheet).text((i % 5 * 200 + 4, i // 5 * 226 + 200), label, fill="black")
    sheet.save(artifacts / "ten-prompts.png")
    # By seed, so that this is always the same; another processor may round one of them otherwise.
    assert len(wrong) <= 1, wrong


async def test_equal_seeds_give_equal_pictures_and_others_differ(painter: SmallPainter) -> None:
    said = {"prompt": "a big green heart on a white background", "steps": 6, "width": 64}

    first, again, other = [
        (await perform(paint, {**said, "seed": seed}, manifest=MANIFEST, state=painter)).value
        for seed in (3, 3, 4)
    ]

    assert first == again
    assert other["image_data"] != first["image_data"]


async def test_a_chosen_seed_is_told_and_gives_the_picture_again(painter: SmallPainter) -> None:
    said = {"prompt": "a red star", "steps": 3}

    first = await perform(paint, said, manifest=MANIFEST, state=painter)
    seed = first.value["seed"]
    again = await perform(paint, {**said, "seed": seed}, manifest=MANIFEST, state=painter)

    assert again.value == first.value


async def test_each_step_is_told_and_a_few_have_previews(painter: SmallPainter) -> None:
    said = {"prompt": "a red star", "steps": 10, "seed": 1}

    answer = await perform(paint, said, manifest=MANIFEST, state=painter)

    assert answer.progress[-1].step == 10
    previews = [told.preview for told in answer.progress if told.preview]
    assert previews
    assert all(Image.open(io.BytesIO(preview)).size == (32, 32) for preview in previews)
    assert answer.prompt_tokens == 10


async def test_words_it_has_never_seen_are_said(painter: SmallPainter) -> None:
    said = {"prompt": "a red dragon", "steps": 1, "seed": 1}

    answer = await perform(paint, said, manifest=MANIFEST, state=painter)

    assert answer.value["unknown_words"] == ["dragon"]


async def test_a_negative_prompt_changes_the_picture(painter: SmallPainter) -> None:
    said = {"prompt": "a star", "steps": 8, "seed": 2}

    plain = await perform(paint, said, manifest=MANIFEST, state=painter)
    without = await perform(
        paint, {**said, "negative_prompt": "red"}, manifest=MANIFEST, state=painter
    )

    assert plain.value["image_data"] != without.value["image_data"]


async def test_the_largest_picture_fits_into_the_answers_bounds(painter: SmallPainter) -> None:
    said = {"prompt": "a star", "steps": 1, "seed": 2, "width": 2048, "height": 2048}

    answer = await perform(paint, said, manifest=MANIFEST, state=painter)

    assert opened(answer).size == (2048, 2048)
    assert answer.value["native_width"] == 32


def test_painting_stops_when_told_to(painter: SmallPainter) -> None:
    steps: list[int] = []

    def told(step: int, _preview: object) -> bool:
        steps.append(step)
        return step < 3

    with pytest.raises(Stopped):
        painter.paint(read({"prompt": "a star", "steps": 50, "seed": 1}), told)
    assert steps == [1, 2, 3]


def test_levels_begin_with_pure_noise_and_fall() -> None:
    assert trailing(1) == [999]
    assert trailing(4) == [999, 749, 499, 249]
    for steps in range(1, 101):
        levels = trailing(steps)
        assert levels == sorted(set(levels), reverse=True) and levels[-1] >= 0
