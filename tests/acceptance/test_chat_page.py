"""The chat in a real browser on a real network with the real model: what was begun goes on, whatever happens."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from .conftest import Network, ready, wait_for
from .test_pages import ADMIN, a_browser, a_window, home, sign_in

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts" / "pages"
LONG = "Write a long story about a lighthouse keeper and the sea, with many words."
ENDED_MS = 200_000


async def begin(page: Page, tokens: int) -> None:
    """A new conversation, whose answers have so many tokens at most and are the same each time."""
    await page.goto("/chat")
    await page.click("#open-parameters")
    await page.fill("#p-max", str(tokens))
    await page.fill("#p-seed", "7")
    await page.fill("#p-temperature", "0.7")
    await page.locator("#parameters button[value=keep]").click()


async def asks(page: Page, text: str) -> None:
    await page.fill("#question", text)
    await page.press("#question", "Enter")


async def some_text(page: Page) -> None:
    """A good deal of the answer is there, and not all of it."""
    await expect(page.locator(".answered .prose").last).to_contain_text(
        re.compile(r"\w+(\s+\S+){12}")
    )


async def settled(page: Page, count: int) -> None:
    await expect(page.locator(".answered.settled")).to_have_count(count, timeout=ENDED_MS)


async def kept(page: Page) -> list[dict[str, object]]:
    """What the network keeps of the conversation, asked as the page asks."""
    cookies = {one["name"]: one["value"] for one in await page.context.cookies()}  # type: ignore[typeddict-item]
    base, talk = page.url.split("/chat/")
    async with httpx.AsyncClient(base_url=f"{base}/api/v1", cookies=cookies) as http:
        messages: list[dict[str, object]] = (await http.get(f"/conversations/{talk}")).json()[
            "data"
        ]["messages"]
    return messages


async def shown(page: Page) -> list[str]:
    return (await page.locator(".answered .prose").last.inner_text()).split()


def words(text: object) -> list[str]:
    """As a page shows them: Markdown's own signs are no words."""
    return re.sub(r"[*_`#>]|^\s*[-\d]+[.)]?\s", " ", str(text), flags=re.M).split()


async def test_a_chat_survives_a_reload_is_stopped_and_asked_again(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await begin(page, 120)
        await asks(page, LONG)
        await some_text(page)
        await page.reload()
        await some_text(page)
        await settled(page, 1)
        first = (await kept(page))[-1]
        assert await shown(page) == words(first["content"])
        told = await page.locator(".told").last.inner_text()
        assert "test-island" in told and "tokens/s" in told and "first token" in told
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=ARTIFACTS / "real-chat.png")

        # The same seed says the same; what was said before goes along.
        await page.get_by_role("button", name="Regenerate").click()
        await expect(page.get_by_text("version 2 of 2")).to_be_visible(timeout=ENDED_MS)
        assert (await kept(page))[-1]["content"] == first["content"]

        # Long enough that it has not ended when somebody stops it.
        await begin(page, 1500)
        await asks(page, LONG)
        await some_text(page)
        await page.keyboard.press("Escape")
        await settled(page, 1)
        await expect(page.locator(".answered .state").last).to_contain_text("Stopped")
        stopped = (await kept(page))[-1]
        assert stopped["status"] == "cancelled" and await shown(page) == words(stopped["content"])


async def test_a_chat_survives_the_death_of_its_coordinator(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await begin(page, 500)
        await asks(page, LONG)
        await some_text(page)
        for process in network.processes("archipelag_coordinator"):
            process.kill()
        await expect(page.locator("#line")).to_be_visible()
        wait_for(lambda: ready(home(network)), "a Coordinator is back", 90)
        await settled(page, 1)
        answer = (await kept(page))[-1]

        assert answer["status"] == "done", answer
        assert await shown(page) == words(answer["content"])
        await expect(page.locator("#line")).to_be_hidden()


async def test_any_cargo_is_tried_by_hand(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await page.goto("/playground/llm-chat")
        await page.get_by_label("Prompt", exact=True).fill("Say hello.")
        await page.get_by_label("Tokens at most").fill("12")
        await page.click("#run")
        await expect(page.locator(".out .prose")).not_to_be_empty(timeout=ENDED_MS)
        await expect(page.locator(".out")).to_contain_text("On test-island")


async def test_a_picture_is_drawn(network: Network) -> None:
    async with a_browser() as browser:
        page = await a_window(browser, network)
        await sign_in(page, ADMIN)
        await page.goto("/images")
        if not await page.locator("#paint").count():
            pytest.skip(
                "no Cargo that draws is listed: its engine is not installed (`make cargos`)"
            )
        if await page.locator("#painter").count():  # Other tests list painters that only they run.
            await page.select_option("#painter", "image-gen")
        await page.get_by_label("Prompt", exact=True).fill(
            "a big blue square on a white background"
        )
        await page.click("#paint-now")
        picture = page.locator("#gallery img").first
        await expect(picture).to_be_visible(timeout=ENDED_MS)
        await expect(picture).to_have_js_property("complete", True)
        wide = await picture.evaluate("one => one.naturalWidth")
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        await page.screenshot(path=ARTIFACTS / "real-images.png")

        assert wide >= 32
