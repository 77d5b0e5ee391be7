"""Files that are not what they should be are refused, whatever they say of themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archipelag_embeddings import sentence_model
from archipelag_embeddings.weights import BadWeights, read


def write(path: Path, header: Any, body: bytes = b"") -> Path:
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + body)
    return path


def test_a_tensor_is_read_as_it_was_written(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype="<f4").reshape(2, 3)
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

    read_back = read(write(tmp_path / "w", header, numbers.tobytes()))

    assert (read_back["a"] == numbers).all()


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 2_400]},
        {"dtype": "F32", "shape": [600], "data_offsets": [0, 2_400]},
        {"dtype": "F32", "shape": [2, 3], "data_offsets": [-24, 0]},
        {"dtype": "F32", "shape": [-2, -3], "data_offsets": [0, 24]},
        {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 24]},
        {"dtype": "PICKLE", "shape": [6], "data_offsets": [0, 24]},
        {"shape": [6]},
        [],
        7,
    ],
)
def test_a_header_that_lies_is_refused(tensor: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "w", {"a": tensor}, bytes(24))

    with pytest.raises(BadWeights, match="no safetensors file"):
        read(path)


@pytest.mark.parametrize("content", [b"x", b"\xff" * 8, b"\xff" * 64, b"\x02" + bytes(7) + b"[]"])
def test_what_is_no_such_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(content)

    with pytest.raises(BadWeights):
        read(tmp_path / "w")


def test_another_models_weights_are_named_as_such(tmp_path: Path) -> None:
    header = {"encoder.layer.0.x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    path = write(tmp_path / "w.safetensors", header, bytes(4))

    with pytest.raises(BadWeights, match="has no tensor 'embeddings"):
        sentence_model.load(path)
