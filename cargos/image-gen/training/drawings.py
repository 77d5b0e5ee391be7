"""What the small model learns from: drawings of plain shapes, each with a caption that says what is on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 40),
    "purple": (150, 60, 190),
    "orange": (245, 140, 30),
    "cyan": (40, 200, 210),
    "pink": (250, 130, 180),
}
BACKGROUNDS = {"white": (255, 255, 255), "black": (10, 10, 10), "gray": (128, 128, 128)}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross", "diamond")
# Radius as a share of the picture's side, and how far the middle may be off, as a share too.
SIZES = {"big": (0.36, 0.06), "small": (0.2, 0.12)}
# Each word has synonyms, the plain one first, which is drawn most often.
SYNONYMS = {
    "big": ("big", "large", "huge"),
    "small": ("small", "little", "tiny"),
    "gray": ("gray", "grey"),
    "ring": ("ring", "donut"),
    "circle": ("circle", "disc", "ball"),
    "cross": ("cross", "plus"),
    "diamond": ("diamond", "rhombus"),
    "purple": ("purple", "violet"),
}
# What a template leaves out is left to chance, so that "a red star" is a prompt too.
TEMPLATES = (
    "a {size} {colour} {shape} on a {background} background",
    "a {size} {colour} {shape} on {background}",
    "a {colour} {shape} on a {background} background",
    "a drawing of a {size} {colour} {shape}",
    "a picture of a {colour} {shape} in front of a {background} background",
    "{colour} {shape}",
    "{size} {colour} {shape} with a {background} background",
)
PLAIN_SHARE = 0.5
SUPERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """What is on a drawing."""

    size: str
    colour: str
    shape: str
    background: str

    def caption(self, template: str = TEMPLATES[0]) -> str:
        return template.format(**self.__dict__)


def scene(chance: Random) -> Scene:
    """Any of the possible scenes, all equally likely."""
    return Scene(
        chance.choice(list(SIZES)),
        chance.choice(list(COLOURS)),
        chance.choice(SHAPES),
        chance.choice(list(BACKGROUNDS)),
    )


def caption(drawn: Scene, chance: Random) -> str:
    """One of the ways in which people would say it."""
    if chance.random() < PLAIN_SHARE:
        return drawn.caption()
    words = {
        kind: chance.choice((word, *SYNONYMS.get(word, ())))
        for kind, word in drawn.__dict__.items()
    }
    return chance.choice(TEMPLATES).format(**words)


def words() -> list[str]:
    """Every word that a caption may have."""
    found = {word for template in TEMPLATES for word in template.split() if "{" not in word}
    found |= {*COLOURS, *BACKGROUNDS, *SHAPES, *SIZES}
    found |= {word for synonyms in SYNONYMS.values() for word in synonyms}
    return sorted(found | {"the", "and", "of"})


def draw(drawn: Scene, side: int, chance: Random) -> Image.Image:
    """The scene as a picture, its middle a little off by chance."""
    share, off = SIZES[drawn.size]
    n = side * SUPERSAMPLING
    picture = Image.new("RGB", (n, n), BACKGROUNDS[drawn.background])
    middle = tuple(n / 2 + chance.uniform(-off, off) * n for _ in "xy")
    _shape(ImageDraw.Draw(picture), drawn, middle[0], middle[1], share * n)
    return picture.resize((side, side), Image.Resampling.BOX)


def _shape(pen: Any, drawn: Scene, x: float, y: float, r: float) -> None:
    colour = COLOURS[drawn.colour]
    match drawn.shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        case "ring":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
            hole = r * 0.55
            ground = BACKGROUNDS[drawn.background]
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=ground)
        case "square":
            pen.rectangle((x - r * 0.85, y - r * 0.85, x + r * 0.85, y + r * 0.85), fill=colour)
        case "cross":
            arm = r * 0.32
            pen.rectangle((x - arm, y - r, x + arm, y + r), fill=colour)
            pen.rectangle((x - r, y - arm, x + r, y + arm), fill=colour)
        case other:
            pen.polygon([(x + r * a, y + r * b) for a, b in _outline(other)], fill=colour)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners around the middle, for a radius of one."""
    match shape:
        case "triangle":
            return [(0, -1), (-0.95, 0.75), (0.95, 0.75)]
        case "diamond":
            return [(0, -1), (0.7, 0), (0, 1), (-0.7, 0)]
        case "star":
            radii = [1 if i % 2 == 0 else 0.42 for i in range(10)]
            angles = [i * math.pi / 5 for i in range(10)]
            pairs = zip(radii, angles, strict=True)
            return [(r * math.sin(angle), -r * math.cos(angle)) for r, angle in pairs]
        case "heart":
            angles = [i / 60 * 2 * math.pi for i in range(60)]
            return [(16 * math.sin(t) ** 3 / 17, -_heart(t) / 17) for t in angles]
        case unknown:
            raise ValueError(f"no such shape: {unknown}")


def _heart(t: float) -> float:
    return 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
