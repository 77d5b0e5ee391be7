"""One registry and one publisher for all of these tests, and an Island's store of images that outlasts each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from archipelag_embedded.registry import Registry

from .publisher import Publisher


@pytest.fixture(scope="session")
def publisher() -> Iterator[Publisher]:
    work = Path(tempfile.mkdtemp(prefix="archipelag-supply-"))
    server = Registry(work / "store", log=work / "registry.log")
    yield Publisher(server.start(), server.store, work)
    server.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="session")
def island() -> Iterator[Path]:
    """Where an Island keeps images: what one test has fetched is warm for the next, as it would be there."""
    folder = Path(tempfile.mkdtemp(prefix="archipelag-supply-island-"))
    # A sandbox's user is not ours, and must reach what is mounted.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
