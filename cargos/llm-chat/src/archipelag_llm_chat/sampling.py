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
# The noise of 52 bits lies within (-3.7, 36.8): an id further below the largest can never win, and is left out first.
_NOISE_MAX: Final = 36.8
_NOISE_SPAN: Final = 41.0
# Nearly always the winner and the whole of top-p lie within this of the largest. It only saves time: what lies
# further below is looked at wherever it could matter.
_NEAR: Final = 12.0


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
    return _noisiest(scores, keep(scores, sampling), sampling.seed, position)


def keep(scores: Floats, sampling: Sampling) -> Ids:
    """Ids that may be chosen, ascending; at least the likeliest. `scores` are logits / temperature."""
    top = scores.max()
    ids: Ids = np.flatnonzero(scores > top - _NOISE_SPAN)
    if 0 < sampling.top_k < len(ids):
        ids = _largest(scores, ids, sampling.top_k)
    if sampling.top_p < 1:
        ids = _head(scores, ids, sampling.top_p)
    if sampling.min_p > 0:
        ids = ids[np.exp(scores[ids] - top) >= sampling.min_p]
    return ids


def noise(seed: int, position: int, ids: Ids) -> Floats:
    """Gumbel noise of each id at a position."""
    uniform = (_bits(seed, position, ids).astype(np.float64) + 0.5) * 2.0**-52
    gumbel: Floats = -np.log(-np.log(uniform))
    return gumbel


def _noisiest(scores: Floats, ids: Ids, seed: int, position: int) -> int:
    """The argmax of score + noise; the lowest id wins a tie. `ids` ascend.

    Logarithms cost most. Ids far below the largest need such rare noise to win that comparing bits rules them out.
    """
    values = scores[ids]
    top = values.max()
    near = values > top - _NEAR
    hot = ids[near]
    noisy = scores[hot] + noise(seed, position, hot)
    best = noisy.max()
    far = ids[~near & (values > best - _NOISE_MAX)]
    if len(far):
        least = float(np.exp(-np.exp(-(best - top + _NEAR)))) * (1 - 1e-12)
        rare = far[_bits(seed, position, far) >= np.uint64(int(least * 2**52))]
        if len(rare):
            hot = np.sort(np.concatenate((hot, rare)))
            noisy = scores[hot] + noise(seed, position, hot)
    return int(hot[np.argmax(noisy)])


def _bits(seed: int, position: int, ids: Ids) -> Words:
    """52 even bits of each id."""
    # In place: fresh memory for each step costs more than the arithmetic.
    words: Words = ids.astype(np.uint64)
    words += np.uint64(1)
    words *= np.uint64(_GOLDEN)
    words += np.uint64(_key(seed, position))
    shifted = words >> np.uint64(30)
    words ^= shifted
    words *= np.uint64(_MIX_1)
    np.right_shift(words, np.uint64(27), out=shifted)
    words ^= shifted
    words *= np.uint64(_MIX_2)
    np.right_shift(words, np.uint64(31), out=shifted)
    words ^= shifted
    words >>= np.uint64(12)
    return words


def _largest(scores: Floats, ids: Ids, count: int) -> Ids:
    """The `count` best ids, ascending; the lower id stays where scores are equal at the cut."""
    values = scores[ids]
    cut = np.partition(values, len(ids) - count)[len(ids) - count]
    above = values > cut
    equal = np.flatnonzero(values == cut)[: count - int(np.count_nonzero(above))]
    above[equal] = True
    best: Ids = ids[above]
    return best


def _head(scores: Floats, ids: Ids, share: float) -> Ids:
    """The fewest likeliest ids that hold `share` of the whole, ascending; one at least."""
    values = scores[ids]
    top = values.max()
    wanted = share * float(np.exp(values - top).sum())
    order: Ids = ids
    for depth in (_NEAR, np.inf):
        part = ids[values > top - depth]
        order = _likeliest_first(scores, part)
        weights = np.exp(scores[order] - top)
        before = np.cumsum(weights) - weights
        size = max(1, int(np.count_nonzero(before < wanted)))
        if size < len(part):
            order = order[:size]
            break
    head: Ids = np.sort(order)
    return head


def _likeliest_first(scores: Floats, ids: Ids) -> Ids:
    """Sorted by score, the lower id first among equals."""
    order: Ids = ids[np.argsort(-scores[ids], kind="stable")]
    return order


def _key(seed: int, position: int) -> int:
    return _mix((_mix((seed + _GOLDEN) & _MASK) + (position + 1) * _GOLDEN) & _MASK)


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _MIX_1) & _MASK
    word = ((word ^ (word >> 27)) * _MIX_2) & _MASK
    return word ^ (word >> 31)
