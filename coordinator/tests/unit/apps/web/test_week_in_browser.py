"""The hours of a week in a real browser: by keys, by a held pointer, and without any script."""

from __future__ import annotations

from archipelag_coordinator.domain.wishes import DAY_HOURS
from playwright.async_api import Page

from .browsing import a_browser
from .house import a_full_house
from .test_in_browser import open_house, open_page

DAY = range(DAY_HOURS)


async def lent(page: Page) -> list[int]:
    """The hours that are checked."""
    found: list[int] = await page.eval_on_selector_all(
        "[data-week] input:checked", "all => all.map(one => Number(one.name.slice(5)))"
    )
    return found


async def test_hours_are_painted_by_keys_and_by_a_held_pointer() -> None:
    house = await a_full_house()
    async with open_house(house) as base, a_browser() as browser:
        page, complaints = await open_page(browser, base, house, "ada")
        await page.goto(f"{base}/islands/{house.islands['reef'].id}")
        first = page.get_by_label("Monday, 0:00 to 1:00")
        stops = await page.locator("[data-week] input[tabindex='0']").count()

        await first.focus()
        await page.keyboard.press("Space")
        for key in ("Shift+ArrowRight", "Shift+ArrowDown", "ArrowRight"):
            await page.keyboard.press(key)
        by_keys = set(range(168)) - set(await lent(page))

        from_box = await page.locator("[name='hour-48']").bounding_box()
        to_box = await page.locator("[name='hour-51']").bounding_box()
        assert from_box and to_box
        await page.mouse.move(from_box["x"] + 8, from_box["y"] + 8)
        await page.mouse.down()
        await page.mouse.move(to_box["x"] + 8, to_box["y"] + 8, steps=12)
        await page.mouse.move(from_box["x"] + 8, from_box["y"] + 8, steps=12)
        await page.mouse.up()
        by_pointer = set(range(168)) - set(await lent(page)) - by_keys
        await page.locator("[name='hour-60']").click()
        clicked = 60 not in await lent(page)
        await page.get_by_role("button", name="Keep these hours").click()
        await page.get_by_text("goes by these hours").wait_for()

        kept = set(range(168)) - set(await lent(page))

    assert stops == 1
    assert by_keys == {0, 1, 25}
    assert by_pointer == {48, 49, 50, 51}
    assert clicked and kept == by_keys | by_pointer | {60}
    assert complaints == []
    assert [one.wishes.hours.bit_count() for one in house.scene.world.fleet.islands()].count(
        160
    ) == 1


async def test_without_a_script_every_hour_is_a_box_of_its_own() -> None:
    house = await a_full_house()
    async with open_house(house) as base, a_browser() as browser:
        context = await browser.new_context(java_script_enabled=False)
        cookie = {"name": "archipelag_session", "value": house.secrets["ada"], "url": base}
        await context.add_cookies([cookie])  # type: ignore[list-item]
        page = await context.new_page()
        await page.goto(f"{base}/islands/{house.islands['reef'].id}")

        for hour in DAY:
            await page.locator(f"[name='hour-{hour}']").click()
        await page.get_by_role("button", name="Keep these hours").click()
        await page.get_by_text("goes by these hours").wait_for()
        unchecked = await page.locator("[data-week] input:not(:checked)").count()

    assert unchecked == len(DAY)
