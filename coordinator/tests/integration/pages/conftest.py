"""A browser for each test, and a network that talks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from archipelag_embedded.fixtures import chromium
from playwright.async_api import Browser, async_playwright

from .talking import Talking, talking


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        yield started
        await started.close()


@pytest.fixture
async def net() -> AsyncIterator[Talking]:
    """With one Island that says yes, and says what a test lets it."""
    async with talking() as made:
        yield made
