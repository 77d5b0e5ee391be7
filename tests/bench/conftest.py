"""What tests of the benchmarks share: their folder, which is no package and is found by its place."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def programs() -> Iterator[dict[str, ModuleType]]:
    """The pieces that all benchmarks use. Out of the way again afterwards: one is called `requests`."""
    before = list(sys.path)
    sys.path.insert(0, str(BENCHMARKS))
    names = ("figures", "table", "telling", "machine", "running", "bench", "far", "ways", "nearby")
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path[:] = before
