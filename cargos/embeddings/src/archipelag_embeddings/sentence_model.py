"""MiniLM as a sentence model: six layers of BERT, the mean over the tokens, length one. Plain numpy, 32-bit floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from archipelag_embeddings import weights
from archipelag_embeddings.weights import BadWeights

Array = NDArray[np.float32]
TOKENS_MAX: Final = 256
"""What the model was trained with; more is cut off, as by its makers."""
_HEADS: Final = 12
_TINY: Final = np.float32(1e-12)


@dataclass(frozen=True)
class Linear:
    weight: Array
    """Inputs by outputs: the transpose of how it is stored, laid out anew so that the product reads along rows."""
    bias: Array

    def __call__(self, x: Array) -> Array:
        y: Array = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True)
class Norm:
    weight: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        x = x - x.mean(-1, keepdims=True)
        spread = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
        x /= np.sqrt(spread + _TINY)
        x *= self.weight
        x += self.bias
        return x


@dataclass(frozen=True)
class Layer:
    query_key_value: Linear
    attended: Linear
    attended_norm: Norm
    wide: Linear
    narrow: Linear
    norm: Norm


@dataclass(frozen=True)
class SentenceModel:
    words: Array
    """Each word's vector."""
    places: Array
    """Each place's vector, the one of the only segment added."""
    norm: Norm
    layers: tuple[Layer, ...]

    @property
    def width(self) -> int:
        return int(self.words.shape[1])

    def embed(self, batch: Sequence[Sequence[int]]) -> Array:
        """A vector of length one for each row of tokens. Rows of like length cost least together."""
        longest = max(map(len, batch))
        ids = np.zeros((len(batch), longest), np.int64)
        real = np.zeros((len(batch), longest), np.float32)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            real[row, : len(tokens)] = 1
        x = self.norm(self.words[ids] + self.places[:longest])
        unseen = (1 - real)[:, None, None, :] * np.float32(-1e9)
        for layer in self.layers:
            x = _through(layer, x, unseen)
        mean = np.einsum("btw,bt->bw", x, real) / real.sum(1, keepdims=True)
        vectors: Array = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), _TINY)
        return vectors


def load(path: Path) -> SentenceModel:
    """Raises BadWeights when the file is not this model's."""
    stored = weights.read(path)
    try:
        return _build({name.removeprefix("bert."): array for name, array in stored.items()})
    except KeyError as missing:
        raise BadWeights(f"{path.name} has no tensor {missing}") from None


def _build(stored: weights.Weights) -> SentenceModel:
    def vector(name: str) -> Array:
        return np.ascontiguousarray(stored[name], np.float32)

    def linear(*names: str) -> Linear:
        parts = [vector(f"{name}.weight").T for name in names]
        biases = [vector(f"{name}.bias") for name in names]
        return Linear(np.ascontiguousarray(np.concatenate(parts, 1)), np.concatenate(biases))

    def norm(name: str) -> Norm:
        return Norm(vector(f"{name}.weight"), vector(f"{name}.bias"))

    def layer(at: str) -> Layer:
        attention = f"{at}.attention"
        return Layer(
            linear(*(f"{attention}.self.{part}" for part in ("query", "key", "value"))),
            linear(f"{attention}.output.dense"),
            norm(f"{attention}.output.LayerNorm"),
            linear(f"{at}.intermediate.dense"),
            linear(f"{at}.output.dense"),
            norm(f"{at}.output.LayerNorm"),
        )

    places = vector("embeddings.position_embeddings.weight")
    return SentenceModel(
        vector("embeddings.word_embeddings.weight"),
        places + vector("embeddings.token_type_embeddings.weight")[0],
        norm("embeddings.LayerNorm"),
        tuple(layer(f"encoder.layer.{i}") for i in range(_layers(stored))),
    )


def _layers(stored: weights.Weights) -> int:
    return 1 + max(int(name.split(".")[2]) for name in stored if name.startswith("encoder.layer."))


def _through(layer: Layer, x: Array, unseen: Array) -> Array:
    rows, length, width = x.shape
    mixed = layer.query_key_value(x).reshape(rows, length, 3, _HEADS, width // _HEADS)
    query, key, value = mixed.transpose(2, 0, 3, 1, 4)
    scores = query @ key.transpose(0, 1, 3, 2)
    scores *= np.float32(1 / math.sqrt(width // _HEADS))
    scores += unseen
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    seen = (scores @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
    x = layer.attended_norm(layer.attended(seen) + x)
    return layer.norm(layer.narrow(_gelu(layer.wide(x))) + x)


def _gelu(x: Array) -> Array:
    """x times the normal distribution's share below x: by Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most."""
    z = np.abs(x)
    z *= np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    np.square(z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    series = np.float32(1.061405429) * t
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(term)
        series *= t
    series *= z
    # `series` is one less the error function of |x|; the other half is its mirror image.
    half: Array = np.where(x > 0, 1 - series / 2, series / 2)
    half *= x
    return half
