"""A browser for each test, and a network that talks."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright

from .talking import Talking, talking


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's; without one the test is left out, but never where everything must run."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        assert not os.environ.get("CI"), (
            "no chromium here: `make .venv/sandboxes.stamp` installs it"
        )
        pytest.skip("no chromium here: as root on Debian, apt install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        await started.close()


@pytest.fixture
async def net() -> AsyncIterator[Talking]:
    """With one Island that says yes, and says what a test lets it."""
    async with talking() as made:
        yield made
