"""Writes a trained pipeline as the three ONNX files and the settings that the Cargo runs without torch."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import onnx
import onnxruntime
import torch
import vocabulary
from diffusers import StableDiffusionPipeline
from drawings import words

# Of numbers around one: a fifth of the smallest step that a pixel can make.
EQUAL_ENOUGH = 5e-3
HALVED_MIN = 256


class Text(torch.nn.Module):
    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.model = pipeline.text_encoder

    def forward(self, ids: Any) -> Any:
        return self.model(ids)[0]


class Unet(torch.nn.Module):
    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.model = pipeline.unet

    def forward(self, x: Any, ts: Any, h: Any) -> Any:
        return self.model(x, ts, encoder_hidden_states=h, return_dict=False)[0]


class Decoder(torch.nn.Module):
    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.model = pipeline.vae

    def forward(self, z: Any) -> Any:
        return self.model.decode(z / self.model.config.scaling_factor, return_dict=False)[0]


def export(pipeline: Any, out: Path, name: str) -> None:
    """Each part is run once by both, and refused when they differ."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    width = pipeline.unet.config.cross_attention_dim
    ids = torch.randint(0, len(pipeline.tokenizer), (2, vocabulary.TOKENS_MAX))
    said = torch.randn(2, vocabulary.TOKENS_MAX, width)
    latents, levels = torch.randn(2, 4, 8, 8), torch.tensor([5, 5])
    _part(Text(pipeline), {"ids": ids}, out / "text.onnx")
    _part(Unet(pipeline), {"x": latents, "ts": levels, "h": said}, out / "unet.onnx")
    _part(Decoder(pipeline), {"z": latents[:1]}, out / "decoder.onnx")
    settings = _settings(pipeline, name)
    (out / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")


def _part(model: torch.nn.Module, example: dict[str, torch.Tensor], path: Path) -> None:
    model.eval()
    torch.onnx.export(
        model,
        tuple(example.values()),
        path,
        input_names=list(example),
        output_names=["out"],
        # The older exporter: a minute, where the newer one takes ten on a busy core, and no package besides.
        dynamo=False,
        opset_version=17,
    )
    _halve(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {word: tensor.numpy() for word, tensor in example.items()})[0]
    with torch.no_grad():
        wanted = model(*example.values()).numpy()
    wrong = float(np.abs(found - wanted).max())
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, off by {wrong:.1e}")
    if wrong > EQUAL_ENOUGH:
        raise SystemExit(f"{path.name} differs from the model it was made of")


def _halve(path: Path) -> None:
    """Keeps large weights in 16 bits and makes 32 of them when the model is loaded: half the file, the same speed."""
    model = onnx.load(path)
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        numbers = onnx.numpy_helper.to_array(weight)
        if numbers.dtype != np.float32 or numbers.size < HALVED_MIN:
            continue
        name = weight.name
        half = f"{name}.half"
        weight.CopyFrom(onnx.numpy_helper.from_array(numbers.astype(np.float16), half))
        casts.append(onnx.helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    for i, cast in enumerate(casts):
        graph.node.insert(i, cast)
    onnx.save(model, path)


def _settings(pipeline: Any, name: str) -> dict[str, Any]:
    tokens = pipeline.tokenizer
    ids = {word: tokens(word, add_special_tokens=False).input_ids for word in words()}
    broken = [word for word, pieces in ids.items() if len(pieces) != 1]
    assert not broken, f"not one token: {broken}"
    return {
        "name": name,
        "tokens_max": vocabulary.TOKENS_MAX,
        "start": tokens.bos_token_id,
        "end": tokens.eos_token_id,
        "words": {word: pieces[0] for word, pieces in ids.items()},
        "signal": [float(f"{a:.9g}") for a in pipeline.scheduler.alphas_cumprod.tolist()],
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("pipeline", type=Path, help="the folder that train.py wrote")
    asked.add_argument("out", type=Path, help="src/archipelag_image_gen/shapes")
    asked.add_argument("--name", default="shapes-32")
    args = asked.parse_args()
    torch.set_num_threads(1)
    export(StableDiffusionPipeline.from_pretrained(args.pipeline), args.out, args.name)


if __name__ == "__main__":
    main()
