"""The last release, built once and kept beside the environment."""

from __future__ import annotations

import pytest

from .last_release import ROOT, Release, last_release


@pytest.fixture(scope="session")
def release() -> Release:
    return last_release(ROOT / ".venv" / "releases")
