"""Makes `stub` importable by the tests, and keeps this machine's settings out of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ARCHIPELAG_API_URL", "ARCHIPELAG_API_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
