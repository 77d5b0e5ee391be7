"""Trains a small pipeline of Stable Diffusion's architecture from nothing, on drawings with captions, on a CPU.

What mattered: the drawing weighs more than its ground in the autoencoder's loss; a vocabulary of whole words, learnt
together with the U-Net; one caption in ten empty, for guidance; the mean of the latest weights instead of the last;
latents computed ahead; noise levels up to pure noise, so that the background is the prompt's and not the noise's.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import drawings
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
import vocabulary
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NOISE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
TEXT_WIDTH = 96
EMPTY_SHARE = 0.1
PICTURES_A_STEP = 8
# So small a network costs mostly its many small operations: half the step's time is the same for any batch.
LATENTS_A_STEP = 32
CHECKPOINT_S = 240.0


@dataclass(frozen=True)
class Budget:
    """How long a part of the training may take: CPU seconds, and seconds by the wall clock."""

    cpu_s: float
    wall_s: float

    def fractions(self) -> Iterator[float]:
        """How much of it is used, asked before each step, until all is."""
        cpu, wall = time.process_time(), time.monotonic()
        while True:
            used = (time.process_time() - cpu) / self.cpu_s
            fraction = max(used, (time.monotonic() - wall) / self.wall_s)
            if fraction >= 1:
                return
            yield fraction


@dataclass(frozen=True)
class Lessons:
    """Pictures, and their captions."""

    pictures: torch.Tensor
    captions: list[str]


def lessons(count: int, side: int, seed: int) -> Lessons:
    chance = random.Random(seed)
    pictures, captions = [], []
    for _ in range(count):
        drawn = drawings.scene(chance)
        pictures.append(np.asarray(drawings.draw(drawn, side, chance)))
        captions.append(drawings.caption(drawn, chance))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return Lessons(stacked, captions)


def tokenizer(folder: Path) -> Any:
    vocabulary.write(folder, drawings.words())
    try:
        return CLIPTokenizer.from_pretrained(folder, model_max_length=vocabulary.TOKENS_MAX)
    except (TypeError, ValueError, OSError):
        files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
        return CLIPTokenizer(*files, model_max_length=vocabulary.TOKENS_MAX)


def text_encoder(tokens: Any) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=vocabulary.TOKENS_MAX,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.eos_token_id,
        )
    )


def autoencoder(side: int) -> AutoencoderKL:
    """To an eighth of the side for 64 pixels, a quarter for 32: the latent picture is 8 by 8 for both."""
    widths = [12, 24, 32] if side == 32 else [12, 24, 32, 32]
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=side,
        mid_block_add_attention=False,
    )


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=[32, 64],
        down_block_types=["CrossAttnDownBlock2D"] * 2,
        up_block_types=["CrossAttnUpBlock2D"] * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def train_autoencoder(vae: AutoencoderKL, pictures: torch.Tensor, budget: Budget) -> None:
    optimiser = torch.optim.AdamW(vae.parameters(), 2e-3, fused=True)
    for step, fraction in enumerate(budget.fractions()):
        batch = pictures[torch.randint(0, len(pictures), (PICTURES_A_STEP,))].float() / 127.5 - 1
        latents = vae.encode(batch).latent_dist
        drawn = vae.decode(latents.sample()).sample
        ground = batch[:, :, :1, :1]
        weight = 1 + 6 * ((batch - ground).abs().amax(1, keepdim=True) > 0.15).float()
        wrong = (weight * ((drawn - batch).abs() + (drawn - batch) ** 2)).mean()
        _step(optimiser, wrong + 1e-5 * latents.kl().mean(), 2e-3 * max(0.05, 1 - fraction))
        if step % 50 == 0:
            print(f"autoencoder {step} {fraction:.3f} {wrong.item():.4f}", flush=True)


def train_unet(
    pipeline: Any, latents: torch.Tensor, captions: list[str], budget: Budget, out: Path
) -> None:
    """U-Net and text encoder together; the pipeline ends up with the mean of their latest weights."""
    noise = DDPMScheduler(clip_sample=False, **NOISE)
    tokens = _tokens(pipeline.tokenizer, captions)
    empty = _tokens(pipeline.tokenizer, [""])
    learning = (copy.deepcopy(pipeline.unet), copy.deepcopy(pipeline.text_encoder))
    weights = [p for model in learning for p in model.parameters()]
    means = [*pipeline.unet.parameters(), *pipeline.text_encoder.parameters()]
    optimiser = torch.optim.AdamW(weights, 1e-3, weight_decay=1e-3, fused=True)
    losses: list[float] = []
    kept = time.monotonic()
    for step, fraction in enumerate(budget.fractions()):
        chosen = torch.randint(0, len(latents), (LATENTS_A_STEP,))
        clean, texts = latents[chosen], tokens[chosen].clone()
        texts[torch.rand(len(chosen)) < EMPTY_SHARE] = empty
        level, added = torch.randint(0, 1000, (len(chosen),)), torch.randn_like(clean)
        noisy = noise.add_noise(clean, added, level)
        said = learning[1](texts).last_hidden_state
        guess = learning[0](noisy, level, encoder_hidden_states=said).sample
        loss = F.mse_loss(guess, noise.get_velocity(clean, added, level))
        rate = min(1, (step + 1) / 50) * max(0.03, 0.5 * (1 + math.cos(math.pi * fraction)))
        _step(optimiser, loss, 1e-3 * rate)
        _follow(means, weights, min(0.998, (1 + step) / (20 + step)))
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"unet {step} {fraction:.3f} {np.mean(losses[-100:]):.4f}", flush=True)
        if time.monotonic() - kept > CHECKPOINT_S:
            kept = time.monotonic()
            pipeline.save_pretrained(out / "checkpoint", safe_serialization=True)


def _step(optimiser: Any, loss: torch.Tensor, rate: float) -> None:
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0, foreach=True)
        group["lr"] = rate
    optimiser.step()


@torch.no_grad()
def _follow(means: list[Any], weights: list[Any], kept: float) -> None:
    torch._foreach_lerp_(means, weights, 1 - kept)


def _tokens(tokens: Any, captions: list[str]) -> torch.Tensor:
    size = {"padding": "max_length", "max_length": vocabulary.TOKENS_MAX, "truncation": True}
    ids: torch.Tensor = tokens(captions, return_tensors="pt", **size).input_ids
    return ids


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """The latents of all pictures, scaled to a deviation of one; the autoencoder remembers the scale."""
    parts = [vae.encode(part.float() / 127.5 - 1).latent_dist.mean for part in pictures.split(100)]
    latents = torch.cat(parts)
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    return latents * vae.config.scaling_factor


def train(out: Path, *, side: int, count: int, vae: Budget, whole: Budget, seed: int = 0) -> None:
    """`whole` is the U-Net's; the trained pipeline is written to `out/pipeline`.

    Where `out/checkpoint` stands, all goes on from there; without time of its own the autoencoder stays as it is.
    """
    torch.manual_seed(seed)
    taught = lessons(count, side, seed)
    if (out / "checkpoint").exists():
        pipeline = StableDiffusionPipeline.from_pretrained(out / "checkpoint")
    else:
        pipeline = _begun(out, side)
    if vae.cpu_s:
        train_autoencoder(pipeline.vae, taught.pictures, vae)
    pipeline.vae.eval()
    latents = encode(pipeline.vae, taught.pictures)
    pipeline.save_pretrained(out / "checkpoint", safe_serialization=True)
    train_unet(pipeline, latents, taught.captions, whole, out)
    pipeline.save_pretrained(out / "pipeline", safe_serialization=True)


def _begun(out: Path, side: int) -> Any:
    tokens = tokenizer(out / "tokenizer")
    return StableDiffusionPipeline(
        vae=autoencoder(side),
        text_encoder=text_encoder(tokens),
        tokenizer=tokens,
        unet=unet(),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--side", type=int, choices=(32, 64), default=64)
    asked.add_argument("--drawings", type=int, default=8_000)
    asked.add_argument("--autoencoder-s", type=float, default=600, help="CPU seconds")
    asked.add_argument("--unet-s", type=float, default=2_400, help="CPU seconds")
    asked.add_argument(
        "--wall", type=float, default=1.5, help="wall seconds for a CPU second, at most"
    )
    asked.add_argument("--threads", type=int, default=1)
    args = asked.parse_args()
    torch.set_num_threads(args.threads)
    train(
        args.out,
        side=args.side,
        count=args.drawings,
        vae=Budget(args.autoencoder_s, args.autoencoder_s * args.wall),
        whole=Budget(args.unet_s, args.unet_s * args.wall),
    )


if __name__ == "__main__":
    main()
