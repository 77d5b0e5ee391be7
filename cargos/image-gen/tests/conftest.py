"""The model that comes along, loaded once, and a place for what a person may look at."""

import os
from pathlib import Path

import pytest
from archipelag_image_gen import small

ARTIFACTS = Path(__file__).parents[3] / "artifacts"


@pytest.fixture(scope="session")
def painter() -> small.SmallPainter:
    pytest.importorskip("onnxruntime", reason="needs the Cargos' engines")
    return small.load()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    folder = Path(os.environ.get("ARCHIPELAG_ARTIFACTS", ARTIFACTS)) / "image-gen"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
