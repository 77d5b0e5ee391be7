"""A browser for each file of tests, and a network that talks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from archipelag_embedded.fixtures import PATIENCE_S, chromium
from playwright.async_api import Browser, async_playwright, expect

from .talking import Talking, talking

expect.set_options(timeout=PATIENCE_S * 1000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_browser() -> AsyncIterator[Browser]:
    """To start it takes longer than most tests do."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    """Nothing of another test is open in it: what a window keeps goes when it is closed."""
    assert not one_browser.contexts
    yield one_browser
    for context in list(one_browser.contexts):
        await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def net() -> AsyncIterator[Talking]:
    """With one Island that says yes, and says what a test lets it."""
    async with talking() as made:
        yield made
