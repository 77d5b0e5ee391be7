"""What somebody reads while the network says "not now": the reason and for how long, not that the line is lost."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, Route, expect

from .talking import Talking

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (429, "rate_limited", "Too many requests just now: it goes on in 2 s…"),
        (503, "unavailable", "The network cannot take it just now: it goes on in 2 s…"),
    ],
)
async def test_a_question_that_is_refused_for_a_while_says_why_and_goes_on(
    net: Talking, browser: Browser, status: int, code: str, told: str
) -> None:
    page = await net.page(browser)
    refused: list[str] = []

    async def once(route: Route) -> None:
        body = json.dumps({"error": {"code": code, "message": "not now"}})
        if refused:
            await route.continue_()
        else:
            refused.append(route.request.url)
            await route.fulfill(status=status, headers={"Retry-After": "1"}, body=body)

    await page.route("**/api/v1/conversations", once)
    await page.goto("/chat")
    await page.fill("#question", "How do islands form?")
    await page.press("#question", "Enter")

    await expect(page.locator("#line")).to_have_text(told)
    line, box = [await page.locator(one).bounding_box() for one in ("#line", "#composer")]
    assert line and box and line["y"] + line["height"] <= box["y"], "it lies on what is written"
    await net.answer("By fire.")
    await expect(page.locator(".answered .prose")).to_have_text("By fire.")
    await expect(page.locator("#line")).to_be_hidden()
    assert len(refused) == 1
