"""What is there to be copied: seen whole, and copied whole, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from .browsing import a_browser
from .house import House
from .test_in_browser import open_house, open_page

COVERED = """() => [...document.querySelectorAll(".copyable")].filter((box) => {
  const button = box.querySelector(".copy");
  if (!button || !box.checkVisibility()) return false;
  const text = document.createRange();
  text.selectNodeContents(box.querySelector("pre"));
  const over = button.getBoundingClientRect();
  return [...text.getClientRects()].some(
    (line) => line.right > over.left && line.left < over.right && line.bottom > over.top && line.top < over.bottom
  );
}).map((box) => box.textContent)"""
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"


async def buttons(page: Page) -> int:
    return await page.locator(".copyable > .copy:visible").count()


@pytest.mark.parametrize("size", ["phone", "desktop"])
async def test_no_button_lies_on_what_it_copies(house: House, size: str) -> None:
    async with open_house(house) as base, a_browser() as browser:
        for who, path in ((None, "/"), ("ada", "/quickstart"), ("ada", "/playground/llm-chat")):
            page, _ = await open_page(browser, base, house, who, size=size)
            await page.goto(base + path)

            assert await buttons(page) >= 1, path
            assert await page.evaluate(COVERED) == [], path


async def test_a_page_by_plain_http_copies_too(house: House) -> None:
    async with open_house(house) as base, a_browser() as browser:
        page, _ = await open_page(browser, base, house, None)
        await page.add_init_script(NO_CLIPBOARD)
        await page.goto(base)
        await page.evaluate(
            "document.addEventListener('copy', () => (window.copied = getSelection().toString()))"
        )
        box = page.locator(".copyable").first
        await box.get_by_role("button", name="Copy").click()

        await box.get_by_text("Copied", exact=True).wait_for()
        assert await page.evaluate("window.copied") == await box.locator("pre").inner_text()


async def test_ideas_for_a_question_begin_at_one_edge(house: House) -> None:
    async with open_house(house) as base, a_browser() as browser:
        page, _ = await open_page(browser, base, house, "ada")
        await page.set_viewport_size({"width": 1000, "height": 760})
        await page.goto(f"{base}/chat")
        begins = await page.locator(".idea strong").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect().left)"
        )

        assert len(begins) >= 2
        assert len(set(begins)) == 1
