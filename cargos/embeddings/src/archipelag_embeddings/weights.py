"""Reads weights from a safetensors file: a header in JSON, then the numbers, mapped and not copied."""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES_MAX: Final = 8 << 20
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
}

Weights = dict[str, NDArray[Any]]


class BadWeights(Exception):
    """The file is not what it should be; the text says how."""


def read(path: Path) -> Weights:
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(whole[:8], "little")
    if len(whole) < 8 or length > min(_HEADER_BYTES_MAX, len(whole) - 8):
        raise BadWeights(f"{path.name} is no safetensors file")
    try:
        header = json.loads(whole[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _tensor(whole, 8 + length, one) for name, one in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(f"{path.name} is no safetensors file: {error}") from None


def _tensor(whole: mmap.mmap, base: int, one: Any) -> NDArray[Any]:
    kind, shape, (begin, end) = _TYPES[one["dtype"]], one["shape"], one["data_offsets"]
    count = int(np.prod(shape, dtype=np.int64))
    if begin < 0 or end - begin != count * kind.itemsize or base + end > len(whole):
        raise ValueError("a tensor lies outside of the file")
    tensor: NDArray[Any] = np.frombuffer(whole, kind, count, base + begin)
    return tensor.reshape(shape)
