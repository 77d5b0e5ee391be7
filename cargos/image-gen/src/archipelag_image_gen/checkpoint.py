"""Any diffusers checkpoint that the manifest names, by diffusers itself, where that and torch are installed.

A checkpoint is a folder with `model_index.json`, or a tar file of one, or one safetensors file. Pickles are never read:
they are programs.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from archipelag_image_gen import noise
from archipelag_image_gen.asked import Asked, Painted, Stopped, Told

_PIPELINES: Final = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
# Below this native side a model is a toy: it paints at its own size, and the picture is enlarged.
_SIDE_TRUSTED: Final = 256
_TAR_FILES_MAX: Final = 1_000
# What each latent channel of Stable Diffusion 1 looks like; a preview by the decoder would take seconds.
_COLOURS: Final = np.array(
    [
        [0.3512, 0.2297, 0.3227],
        [0.3250, 0.4974, 0.2350],
        [-0.2829, 0.1762, 0.2721],
        [-0.2120, -0.2616, -0.7177],
    ]
)


class NoCheckpoint(Exception):
    """The model cannot be used; the text says why and what would do."""


class CheckpointPainter:
    def __init__(self, pipeline: Any, torch: Any) -> None:
        self._pipeline = pipeline
        self._torch = torch
        self._native = int(pipeline.unet.config.sample_size * pipeline.vae_scale_factor)
        self.name = type(pipeline).__name__
        device = str(pipeline.device).partition(":")[0]
        self.determinism_class = f"{self.name}-torch-{torch.__version__}-{device}"

    def paint(self, asked: Asked, told: Told) -> Painted:
        own = self._native < _SIDE_TRUSTED
        width, height = (self._native, self._native) if own else (asked.width, asked.height)
        scale = self._pipeline.vae_scale_factor
        shape = (1, self._pipeline.unet.config.in_channels, height // scale, width // scale)
        with self._torch.inference_mode():
            made = self._pipeline(
                asked.prompt,
                negative_prompt=asked.negative_prompt,
                width=width,
                height=height,
                num_inference_steps=asked.steps,
                guidance_scale=asked.guidance_scale,
                latents=self._tensor(noise.normal(asked.seed, shape)),
                generator=self._torch.Generator("cpu").manual_seed(asked.seed),
                callback_on_step_end=self._step(told),
            )
        return Painted(made.images[0])

    def _tensor(self, numbers: Any) -> Any:
        pipeline = self._pipeline
        return self._torch.from_numpy(numbers).to(pipeline.device, pipeline.unet.dtype)

    def _step(self, told: Told) -> Callable[..., dict[str, Any]]:
        def after(_pipeline: Any, step: int, _level: Any, state: dict[str, Any]) -> dict[str, Any]:
            latents = state["latents"]
            if not told(step + 1, lambda: self._preview(latents)):
                raise Stopped
            return state

        return after

    def _preview(self, latents: Any) -> Image.Image:
        if self._native < _SIDE_TRUSTED:
            vae = self._pipeline.vae
            drawn = vae.decode(latents / vae.config.scaling_factor).sample[0]
            seen = drawn.permute(1, 2, 0).float().cpu().numpy() / 2 + 0.5
        else:
            channels = latents[0].permute(1, 2, 0).float().cpu().numpy()
            seen = channels[..., : len(_COLOURS)] @ _COLOURS / 2 + 0.5
        return Image.fromarray((seen.clip(0, 1) * 255).round().astype(np.uint8))


def load(model: Path, threads: int) -> CheckpointPainter:
    """Raises NoCheckpoint."""
    try:
        import diffusers
        import torch
    except ImportError as error:
        raise NoCheckpoint(
            f"{model.name} needs diffusers and torch in the Cargo's image: {error}"
        ) from None
    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    wanted = {"torch_dtype": torch.float16 if cuda else torch.float32, "local_files_only": True}
    try:
        pipeline = _read(model, diffusers, wanted)
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        raise NoCheckpoint(f"{model.name} could not be loaded: {error}"[:500]) from error
    if type(pipeline).__name__ not in _PIPELINES:
        raise NoCheckpoint(f"{type(pipeline).__name__} is none of {', '.join(_PIPELINES)}")
    pipeline.set_progress_bar_config(disable=True)
    return CheckpointPainter(pipeline.to("cuda" if cuda else "cpu"), torch)


def _read(model: Path, diffusers: Any, wanted: dict[str, Any]) -> Any:
    if model.is_file() and model.suffix == ".safetensors":
        return diffusers.StableDiffusionPipeline.from_single_file(model, **wanted)
    if model.is_file():
        with tempfile.TemporaryDirectory() as folder:
            return _from_folder(_unpack(model, Path(folder)), diffusers, wanted)
    return _from_folder(model, diffusers, wanted)


def _from_folder(folder: Path, diffusers: Any, wanted: dict[str, Any]) -> Any:
    return diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True, **wanted)


def _unpack(packed: Path, folder: Path) -> Path:
    """The folder of the checkpoint inside. The `data` filter refuses links and paths that lead out of it."""
    with tarfile.open(packed, "r:") as archive:
        for count, member in enumerate(archive):
            if count == _TAR_FILES_MAX:
                raise NoCheckpoint(f"{packed.name} holds more than {_TAR_FILES_MAX} files")
            archive.extract(member, folder, filter="data")
    for index in (folder / "model_index.json", *sorted(folder.glob("*/model_index.json"))):
        if index.is_file():
            return index.parent
    raise NoCheckpoint(f"{packed.name} holds no checkpoint: model_index.json is missing")
