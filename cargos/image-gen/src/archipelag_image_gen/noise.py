"""Noise that is a function of seed and place alone: the same on every machine, whatever was drawn before."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def normal(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Box and Muller over Philox, a counter-based generator whose raw numbers numpy keeps from version to version.

    numpy's own `standard_normal` may change with any release.
    """
    count = math.prod(shape)
    pairs = (count + 1) // 2
    raw = np.random.Philox(key=seed).random_raw(2 * pairs)
    # 53 bits, moved by half a step so that no logarithm of zero is taken.
    even = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2 * np.log(even[:pairs]))
    angle = 2 * math.pi * even[pairs:]
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return both[:count].astype(np.float32).reshape(shape)
