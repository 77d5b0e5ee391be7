"""The pages as people use them, in a real browser on a real network: those who use it, lend it a machine, run it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
from archipelag_embedded.fixtures import PATIENCE_S, chromium
from playwright.async_api import Browser, Page, async_playwright, expect

from .conftest import Network, address, wait_for
from .raw_island import RawIsland

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "pages"
ADMIN = "admin@archipelag.local"
SOON_MS = PATIENCE_S * 1000
expect.set_options(timeout=SOON_MS)


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        try:
            yield browser
        finally:
            await browser.close()


async def a_window(browser: Browser, network: Network) -> Page:
    """Of somebody who has never been here."""
    context = await browser.new_context(base_url=home(network), reduced_motion="reduce")
    context.set_default_timeout(SOON_MS)
    return await context.new_page()


def home(network: Network) -> str:
    return network.api_url.removesuffix("/api/v1")


async def sign_in(page: Page, email: str) -> None:
    """By the link that lies in the local mailbox, as its owner does."""
    await page.goto("/")
    await page.get_by_role("link", name="Sign in", exact=True).click()
    await page.get_by_label("Your mail address").fill(email)
    await page.get_by_role("button", name="Mail me a link").click()
    await page.get_by_role("link", name="Open the local mailbox").click()
    newest = page.get_by_role("article").first
    await expect(newest).to_contain_text(email)
    await newest.get_by_role("link", name="Open the link").click()
    await page.get_by_role("button", name="Sign in").click()


async def picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=ARTIFACTS / f"real-{name}.png", full_page=True)


async def give_credits(page: Page, email: str, amount: str) -> None:
    """As the administrator."""
    await page.goto(f"/admin/people?search={email}")
    row = page.get_by_role("row", name=email)
    await row.get_by_text("Give credits").click()
    await row.get_by_label("Credits").fill(amount)
    await row.get_by_label("Cause").fill("a test of the pages")
    await row.get_by_role("button", name="Give", exact=True).click()
    await expect(page.get_by_text("Granted.")).to_be_visible()


def api(network: Network, key: str) -> httpx.AsyncClient:
    base = f"{home(network)}/api/v1"
    return httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=60)


async def test_somebody_who_uses_it(network: Network, trap: tuple[str, str]) -> None:
    async with a_browser() as browser:
        admin, ada = await a_window(browser, network), await a_window(browser, network)
        await sign_in(admin, ADMIN)
        await expect(admin.get_by_role("heading", name="Overview")).to_be_visible()

        # The first sign-in leads to the quickstart: a key by one click, shown once.
        await sign_in(ada, "ada@example.org")
        await expect(ada.get_by_role("heading", name="Quickstart")).to_be_visible()
        await ada.get_by_role("button", name="Make a key").click()
        key = (await ada.locator("#new-key").inner_text()).strip()
        assert re.fullmatch(r"ak_[0-9A-Za-z]{43}", key)
        await expect(ada.get_by_role("region", name="curl")).to_contain_text(key)
        await ada.goto("/quickstart")
        assert key not in await ada.content()
        await give_credits(admin, "ada@example.org", "100")

        # A job shows its answer as it is made, and where it ran and why.
        async with api(network, key) as http:
            wanted = {"messages": [{"role": "user", "content": "Count to five."}], "max_tokens": 48}
            made = await http.post("/jobs", json={"workload": "llm-chat", "input": wanted})
            job = made.json()["data"]["id"]
            await ada.goto(f"/jobs/{job}")
            await expect(ada.get_by_text("completed")).to_be_visible()
            answer = (await http.get(f"/jobs/{job}/output")).json()["data"]["output"]
        shown = await ada.get_by_role("region", name="Answer").inner_text()
        assert answer.split() == shown.split()
        await ada.get_by_text("Why this Island").click()
        await expect(ada.get_by_text("first item expected in")).to_be_visible()
        await picture(ada, "job")

        # One that nobody can take says why it waits; it is cancelled and costs nothing.
        async with api(network, key) as http:
            made = await http.post("/jobs", json={"workload": "trap", "input": wanted})
            waiting = made.json()["data"]["id"]
        await ada.goto("/jobs")
        await ada.get_by_role("link", name="Count to five.").first.click()
        await expect(ada.get_by_role("heading", name="Why it waits")).to_be_visible()
        await expect(ada.locator("#why-waiting")).to_contain_text("does not offer trap")
        await picture(ada, "waiting")
        await ada.get_by_text("Cancel", exact=True).click()
        await ada.get_by_role("button", name="Cancel this job").click()
        await expect(ada.get_by_text("Cancelled. You pay")).to_be_visible()
        assert ada.url.endswith(f"/jobs/{waiting}?done=cancelled")

        # What it cost stands in the credits, and nobody else sees any of it.
        await ada.goto("/credits")
        await expect(ada.get_by_role("link", name=job)).to_be_visible()
        gone = await admin.goto(f"/jobs/{job}")
        assert gone is not None and gone.status == 404


async def test_somebody_who_lends_a_machine_and_somebody_who_looks_after_it(
    network: Network,
) -> None:
    async with a_browser() as browser:
        bo, admin = await a_window(browser, network), await a_window(browser, network)
        await sign_in(bo, "bo@example.org")
        await bo.goto("/islands")
        await bo.get_by_role("button", name="Pair a machine").click()
        code = (await bo.locator("#pair-code").inner_text()).strip()
        island = await RawIsland.enrol(address(network), code, "skiff <b>of</b> bo")
        # It appears by itself, and its name is a name.
        await expect(bo.get_by_role("link", name="skiff <b>of</b> bo")).to_be_visible()
        await island.connect()
        try:
            await island.beat()
            await expect(bo.get_by_text("ready").first).to_be_visible()
            await bo.get_by_role("link", name="skiff <b>of</b> bo").click()
            await expect(bo.get_by_text("Why it gets no work now")).to_be_visible()
            await picture(bo, "island")

            await sign_in(admin, ADMIN)
            await admin.goto("/admin/islands?search=skiff")
            await admin.get_by_text("Suspend", exact=True).click()
            await admin.get_by_role("button", name="Suspend skiff <b>of</b> bo").click()
            await expect(admin.get_by_text("Suspended. The Island is cut off")).to_be_visible()
            await expect(
                admin.get_by_role("row", name="skiff").get_by_text("suspended").first
            ).to_be_visible()
            await picture(admin, "admin-islands")
            # Cut off for real, noted in the log, and told to its owner.
            await island.closed.wait()
            await admin.goto("/admin/audit")
            await expect(
                admin.get_by_role("row", name=re.compile("island.suspend")).first
            ).to_contain_text(island.id)
            await admin.get_by_role("button", name="Check the seals").click()
            await expect(admin.get_by_text("Whole: all")).to_be_visible()
            await expect(bo.get_by_text("It was suspended by an operator")).to_be_visible()
        finally:
            await island.close()
        # Who is nobody's keeper has no such room.
        refused = await bo.goto("/admin/islands")
        assert refused is not None and refused.status == 403


async def test_pages_outlive_their_coordinator(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await page.goto("/network")

        # The supervisor may bring it back before the page asks again: it stays away until the page has.
        seen = asyncio.create_task(expect(page.get_by_text("reconnecting")).to_be_visible())
        while not seen.done():
            for coordinator in network.processes("archipelag_coordinator"):
                with suppress(psutil.NoSuchProcess):
                    coordinator.kill()
            await asyncio.wait({seen}, timeout=0.25)
        await seen
        await expect(page.get_by_text("reconnecting")).to_be_hidden(timeout=2 * SOON_MS)
        # The session stood in the database: nobody signs in again.
        await page.goto("/settings")
        await expect(page.get_by_text(ADMIN).first).to_be_visible()
    with network.http() as http:
        wait_for(lambda: http.get("/hosts").json()["data"], "the Island is there again")


def test_the_banner_says_how_to_sign_in(network: Network) -> None:
    told = (network.home / "up.log").read_text()

    assert f"Open      {home(network)}" in told
    assert f"as {ADMIN}: the link comes into {home(network)}/mailbox" in told
