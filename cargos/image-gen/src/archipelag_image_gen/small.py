"""The model that comes along: Stable Diffusion's architecture, 32 by 32 pixels, on onnxruntime and without torch."""

from __future__ import annotations

import importlib.resources
import json
import platform
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archipelag_image_gen import noise
from archipelag_image_gen.asked import Asked, Painted, Stopped, Told
from archipelag_image_gen.words import Vocabulary

Array = NDArray[np.float32]
_LATENT: Final = (1, 4, 8, 8)
_TRAINED_STEPS: Final = 1_000


@dataclass(frozen=True)
class SmallPainter:
    text: Any
    unet: Any
    decoder: Any
    vocabulary: Vocabulary
    signal: NDArray[np.float64]
    """How much of a picture is left at each of the trained steps, squared: from nearly all to nothing."""
    name: str
    determinism_class: str

    def paint(self, asked: Asked, told: Told) -> Painted:
        wanted, unknown = self.vocabulary.read(asked.prompt)
        unwanted, more = self.vocabulary.read(asked.negative_prompt)
        said = self.text.run(None, {"ids": np.array([unwanted, wanted], np.int64)})[0]
        latent = noise.normal(asked.seed, _LATENT)
        levels = trailing(asked.steps)
        for step, level in enumerate(levels, 1):
            below = self.signal[levels[step]] if step < asked.steps else 1.0
            guess = self._guess(latent, level, said, asked.guidance_scale)
            latent, clean = ddim(latent, guess, self.signal[level], below)
            if not told(step, lambda clean=clean: self._decode(clean)):  # type: ignore[misc]
                raise Stopped
        return Painted(self._decode(latent), tuple(dict.fromkeys(unknown + more)))

    def _guess(self, latent: Array, level: int, said: Array, guidance: float) -> Array:
        """Towards the prompt and away from the negative one, both reckoned in one batch."""
        both = {"x": np.concatenate([latent, latent]), "ts": np.array([level, level]), "h": said}
        away, towards = np.split(self.unet.run(None, both)[0], 2)
        guess: Array = away + np.float32(guidance) * (towards - away)
        return guess

    def _decode(self, latent: Array) -> Image.Image:
        drawn = self.decoder.run(None, {"z": latent})[0][0].transpose(1, 2, 0)
        return Image.fromarray(((drawn / 2 + 0.5).clip(0, 1) * 255).round().astype(np.uint8))


def trailing(steps: int) -> list[int]:
    """Levels of noise from the highest down, evenly: the first is pure noise, as the model was trained to expect."""
    return [round(_TRAINED_STEPS - i * _TRAINED_STEPS / steps) - 1 for i in range(steps)]


def ddim(latent: Array, guess: Array, signal: float, below: float) -> tuple[Array, Array]:
    """One step of DDIM for a model that guesses velocities: the next latent, and the clean one as seen from here."""
    a, s = np.float32(np.sqrt(signal)), np.float32(np.sqrt(1 - signal))
    clean = a * latent - s * guess
    noisy = a * guess + s * latent
    kept, added = np.float32(np.sqrt(below)), np.float32(np.sqrt(1 - below))
    following: Array = (kept * clean + added * noisy).astype(np.float32)
    return following, clean


def load() -> SmallPainter:
    import onnxruntime

    folder = importlib.resources.files(__package__).joinpath("shapes")
    settings = json.loads(folder.joinpath("settings.json").read_text())
    options = onnxruntime.SessionOptions()
    # One thread: 0.1 s a picture is enough, and the order of sums does not depend on the machine's cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def session(part: str) -> Any:
        model = folder.joinpath(f"{part}.onnx").read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    return SmallPainter(
        session("text"),
        session("unet"),
        session("decoder"),
        Vocabulary(settings["words"], settings["start"], settings["end"], settings["tokens_max"]),
        np.array(settings["signal"]),
        settings["name"],
        f"{settings['name']}-onnx-{onnxruntime.__version__}-{platform.machine()}",
    )
