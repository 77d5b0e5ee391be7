"""A real browser on the pages: where it is found, how it is started, what it is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from archipelag_embedded.fixtures import chromium
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

GRAVE = frozenset({"serious", "critical"})


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


async def grave_findings(page: Page) -> list[str]:
    """What axe finds that would keep somebody out, with the place."""
    results: Any = await Axe().run(page)
    return [
        f"{found['id']}: {found['help']} at {node['target']}: {node.get('failureSummary', '')}"
        for found in results.response["violations"]
        if found["impact"] in GRAVE
        for node in found["nodes"]
    ]
