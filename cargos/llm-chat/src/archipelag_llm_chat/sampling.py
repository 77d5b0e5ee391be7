"""Sampling without a history: the token at a position depends on the logits, the seed and the position alone.

Anybody can recompute a choice. With `mix` the finaliser of SplitMix64 and G its constant, all modulo 2**64:

    key(seed, position)  = mix(mix(seed + G) + (position + 1) * G)
    bits(key, token id)  = mix(key + (token id + 1) * G)
    u                    = (bits >> 12 + 1/2) / 2**52                  in (0, 1)
    noise                = -log(-log(u))                               Gumbel's distribution
    token                = argmax over the kept ids of logit / temperature + noise; the lowest id wins a tie

That is a draw from softmax(logits / temperature). Before it, in this order: the penalties of the answer so far, then
top-k, top-p and min-p, each on the distribution at that temperature. Temperature 0 takes the largest logit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = 0xBF58476D1CE4E5B9
_MIX_2: Final = 0x94D049BB133111EB
# The noise of 52 bits lies within (-3.6, 36.8): an id further below the largest can never win.
_NOISE_SPAN: Final = 41.0


@dataclass(frozen=True)
class Sampling:
    """How to choose. `top_k` 0, `top_p` 1 and `min_p` 0 cut nothing."""

    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


def choose(
    logits: npt.NDArray[np.float32], sampling: Sampling, position: int, answer: Counter[int]
) -> int:
    """The token at `position` of the answer. `answer` counts the tokens before it, resumed ones included."""
    scores = logits.astype(np.float64)
    if answer and (sampling.frequency_penalty or sampling.presence_penalty):
        ids = np.fromiter(answer.keys(), dtype=np.int64, count=len(answer))
        counts = np.fromiter(answer.values(), dtype=np.float64, count=len(answer))
        scores[ids] -= counts * sampling.frequency_penalty + sampling.presence_penalty
    if sampling.temperature == 0:
        return int(np.argmax(scores))
    scores /= sampling.temperature
    kept = keep(scores, sampling)
    noisy = scores[kept] + noise(sampling.seed, position, kept)
    # `kept` ascends, so that the first of equals is the lowest id.
    return int(kept[np.argmax(noisy)])


def keep(scores: Floats, sampling: Sampling) -> Ids:
    """Ids that may be chosen, ascending; at least the likeliest. `scores` are logits / temperature."""
    ids: Ids = np.flatnonzero(scores > scores.max() - _NOISE_SPAN)
    if 0 < sampling.top_k < len(ids):
        ids = _likeliest_first(scores, ids)[: sampling.top_k]
    if sampling.top_p < 1 or sampling.min_p > 0:
        ids = _likeliest_first(scores, ids)
        weights = np.exp(scores[ids] - scores[ids[0]])
        if sampling.top_p < 1:
            # The smallest head that holds top_p of the whole.
            before = np.cumsum(weights) - weights
            size = max(1, int(np.count_nonzero(before < sampling.top_p * weights.sum())))
            ids, weights = ids[:size], weights[:size]
        if sampling.min_p > 0:
            ids = ids[weights >= sampling.min_p]
    return np.sort(ids)


def noise(seed: int, position: int, ids: Ids) -> Floats:
    """Gumbel noise of each id at a position."""
    key = np.uint64(_key(seed, position))
    with np.errstate(over="ignore"):
        words: Words = key + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(_MIX_1)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(_MIX_2)
        words ^= words >> np.uint64(31)
    uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    gumbel: Floats = -np.log(-np.log(uniform))
    return gumbel


def _likeliest_first(scores: Floats, ids: Ids) -> Ids:
    """Sorted by score, the lower id first among equals."""
    return ids[np.argsort(-scores[ids], kind="stable")]


def _key(seed: int, position: int) -> int:
    return _mix((_mix((seed + _GOLDEN) & _MASK) + (position + 1) * _GOLDEN) & _MASK)


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _MIX_1) & _MASK
    word = ((word ^ (word >> 27)) * _MIX_2) & _MASK
    return word ^ (word >> 31)
