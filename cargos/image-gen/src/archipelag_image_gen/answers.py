"""The Cargo: a prompt in, progress with previews meanwhile, and the picture out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from archipelag_kit import Run, Setup, cargo
from PIL.Image import Image

from archipelag_image_gen import canvas, checkpoint, small
from archipelag_image_gen.asked import Asked, Painted, Painter, Stopped, Told, is_previewed, read


@cargo.load
async def load(setup: Setup) -> Painter:
    """The model that the manifest names; the small one where it names none."""
    painter: Painter
    if setup.model is None:
        painter = await setup.in_thread(small.load)
    else:
        painter = await setup.in_thread(checkpoint.load, setup.model, setup.threads)
    setup.determinism_class = painter.determinism_class
    return painter


@cargo
async def paint(run: Run) -> dict[str, Any]:
    asked = read(run.input)
    # A step costs what a step costs, however the picture turns out.
    run.prompt_tokens = asked.steps
    await run.progress(0, asked.steps)
    painter: Painter = run.state
    try:
        painted, data = await run.in_thread(_paint, painter, asked, _teller(run, asked))
    except Stopped:
        return {}
    result = {
        "image_data": base64.b64encode(data).decode(),
        "format": "png",
        "width": asked.width,
        "height": asked.height,
        "seed": asked.seed,
        "native_width": painted.picture.width,
        "native_height": painted.picture.height,
    }
    if painted.unknown_words:
        result["unknown_words"] = list(painted.unknown_words)
    return result


def _paint(painter: Painter, asked: Asked, told: Told) -> tuple[Painted, bytes]:
    painted = painter.paint(asked, told)
    whole = canvas.fit(painted.picture, asked.width, asked.height)
    return painted, canvas.signed_png(whole, painted.picture, asked, painter.name)


def _teller(run: Run, asked: Asked) -> Told:
    def told(step: int, preview: Callable[[], Image]) -> bool:
        shown = canvas.png(_small(preview())) if is_previewed(step, asked.steps) else None
        run.tell(step, asked.steps, preview=shown)
        return not run.cancelled

    return told


def _small(picture: Image) -> Image:
    """At most 128 pixels wide or high: 48 KiB even where nothing can be compressed."""
    picture.thumbnail((128, 128))
    return picture
