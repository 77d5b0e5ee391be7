"""The built site, as a browser shows it: light and dark, on a desk and on a phone, without any other host."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from archipelag_embedded.fixtures import chromium
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, async_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "website"))

import building  # noqa: E402 - found only once the path is set
import checked  # noqa: E402

ARTIFACTS = ROOT / "artifacts" / "site"
DESK, PHONE = (1280, 900), (390, 844)
PAGES = ("", "explanation/security/", "how-to/back-up/")
GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once. Without the builder the tests are left out, but never where everything must run."""
    if not building.BUILDER.exists():
        assert not os.environ.get("CI"), "no builder here: `make site` installs it"
        pytest.skip("the builder of the website is not installed: `make site` does it")
    folder = tmp_path_factory.mktemp("built") / "site"
    building.build(folder)
    assert checked.complaints(folder) == []
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_is_whole_and_asks_no_other_host(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert (site / "explanation/glossary/index.html").is_file()
    assert sorted(path.name for path in (site / "look").glob("*.woff2"))
    index = "".join(path.read_text() for path in site.rglob("search*.json"))
    assert "micro-credit" in index, "it can be searched without a server"


async def test_it_is_fit_to_look_at(address: str) -> None:
    path = chromium()
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    asked: set[str] = set()
    found: list[str] = []
    failed: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for name, (width, height) in (("desk", DESK), ("phone", PHONE)):
                context = await browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page = await context.new_page()
                page.on("request", lambda request: asked.add(request.url))
                page.on("pageerror", lambda error: failed.append(str(error)))
                for where in PAGES if name == "desk" else PAGES[:1]:
                    await page.goto(address + where)
                    label = f"{name}-{scheme}-{where.strip('/').replace('/', '-') or 'home'}"
                    await page.screenshot(path=ARTIFACTS / f"{label}.png", full_page=not where)
                    found += [f"{label}: {one}" for one in await faults_of(page, width)]
                await context.close()
        await browser.close()

    assert (found, failed) == ([], [])
    assert [one for one in asked if not one.startswith((address, "data:", "blob:"))] == []


async def faults_of(page: Page, width: int) -> list[str]:
    """What would keep somebody out, and what does not fit on the screen."""
    results: Any = await Axe().run(page)
    found = [
        f"{one['id']} at {node['target']}: {node.get('failureSummary', '')}"
        for one in results.response["violations"]
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
    wide = await page.evaluate("document.documentElement.scrollWidth")
    return [*found, *([f"{wide} px wide on {width}"] if wide > width else [])]


async def test_a_word_is_found_without_a_server(address: str) -> None:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(address)
        await page.keyboard.press("Control+k")
        await page.keyboard.type("scrypt", delay=20)
        result = page.get_by_role("link", name="Back it up").first
        async with asyncio.timeout(60):
            await result.wait_for(timeout=60_000)
        await browser.close()
