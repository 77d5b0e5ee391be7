"""What a picture is asked for with, what comes of it, and what can paint it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from archipelag_kit import BadInput
from PIL.Image import Image

SIDE_MULTIPLE: Final = 8
SIDE_DEFAULT: Final = 256
STEPS_DEFAULT: Final = 20
GUIDANCE_DEFAULT: Final = 4.0
GUIDANCE_MAX: Final = 20
PREVIEWS: Final = 5
_SEEDS: Final = 1 << 53

Told = Callable[[int, Callable[[], Image]], bool]
"""Told after each step, and how to make a preview if one is wanted; answers whether to go on."""


class Stopped(Exception):
    """Nobody waits for the picture any more."""


@dataclass(frozen=True)
class Asked:
    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance_scale: float
    seed: int


@dataclass(frozen=True)
class Painted:
    """The picture as the model made it, before it is brought to the size that was asked for."""

    picture: Image
    unknown_words: tuple[str, ...] = ()


class Painter(Protocol):
    """A model that is loaded. Blocks; called from a thread."""

    @property
    def name(self) -> str: ...

    @property
    def determinism_class(self) -> str:
        """Painters of equal class paint equal pictures for equal seeds."""
        ...

    def paint(self, asked: Asked, told: Told) -> Painted:
        """Raises Stopped when told to, and BadInput."""
        ...


def read(said: Mapping[str, Any]) -> Asked:
    """From an input that fits the manifest's schema. Raises BadInput for what a schema cannot say."""
    prompt = " ".join(said["prompt"].split())
    if not prompt:
        raise BadInput("prompt: must say what to paint")
    guidance = float(said.get("guidance_scale", GUIDANCE_DEFAULT))
    if not math.isfinite(guidance) or not 0 <= guidance <= GUIDANCE_MAX:
        raise BadInput(f"guidance_scale: must be 0 to {GUIDANCE_MAX}")
    return Asked(
        prompt=prompt,
        negative_prompt=" ".join(said.get("negative_prompt", "").split()),
        width=_side(said, "width"),
        height=_side(said, "height"),
        steps=int(said.get("steps", STEPS_DEFAULT)),
        guidance_scale=guidance,
        # Told in the result, so that the same picture can be had again.
        seed=int(said["seed"]) if "seed" in said else secrets.randbelow(_SEEDS),
    )


def is_previewed(step: int, steps: int) -> bool:
    """A few previews a picture, none for the last step, since the picture itself follows."""
    return step < steps and step % max(1, math.ceil(steps / PREVIEWS)) == 0


def _side(said: Mapping[str, Any], name: str) -> int:
    side = int(said.get(name, SIDE_DEFAULT))
    if side % SIDE_MULTIPLE:
        raise BadInput(f"{name}: must be a multiple of {SIDE_MULTIPLE}")
    return side
