"""The API's reference as somebody reads it who is about to write a program."""

from __future__ import annotations

from playwright.async_api import expect

from .browsing import a_browser
from .house import House
from .test_in_browser import open_house, open_page


async def test_it_begins_with_a_request_to_paste_and_opens_what_is_linked(house: House) -> None:
    async with open_house(house) as base, a_browser() as browser:
        page, complaints = await open_page(browser, base, house, None, size="phone")
        await page.goto(f"{base}/api/v1/docs")

        first = page.get_by_role("region", name="A first request")
        await expect(first).to_contain_text("http://127.0.0.1:8420/v1/chat/completions")
        await page.get_by_text("Answer a chat").click()
        await expect(page.get_by_text("Also at /v1/chat/completions")).to_be_visible()
        await page.get_by_role("link", name="ChatRequest").first.click()
        await expect(page.locator("table#ChatRequest")).to_be_visible()
        assert complaints == []


async def test_an_operation_with_two_addresses_is_told_once(house: House) -> None:
    async with open_house(house) as base, a_browser() as browser:
        page, _ = await open_page(browser, base, house, None)
        await page.goto(f"{base}/api/v1/docs")
        told = await page.locator("summary > code").all_inner_texts()

    operations = [one for one in told if "/" in one]
    assert len(operations) == len(set(operations)) > 40
    assert not [one for one in operations if "/api/" not in one]
