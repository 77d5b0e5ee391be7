"""The chat as a person uses it, in a real browser."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.services.dispatch import dispatch
from archipelag_embedded.serving import served
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from .talking import Talking, app_of, talking, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARTIFACTS = Path(__file__).parents[4] / "artifacts" / "pages"
SCRIPT_BYTES_MAX = 100_000
ANSWER = """Islands form in **three** ways:

1. *Volcanic* islands rise from the sea floor.
2. *Coral* islands grow on reefs.

| kind | example |
|---|---|
| volcanic | Surtsey |

```python
def kind_of(island: Island) -> str:
    return "volcanic" if island.has_crater else "coral"
```

> The sea gives. See [the long story](https://example.org/islands).
"""


async def opened(net: Talking, browser: Browser, path: str = "/chat", **how: bool) -> Page:
    page = await net.page(browser, **how)
    await page.goto(path)
    await expect(page.locator("#question")).to_be_editable()
    return page


async def asks(page: Page, text: str) -> None:
    await page.fill("#question", text)
    await page.press("#question", "Enter")


async def settled(page: Page, count: int = 1) -> None:
    await expect(page.locator(".answered.settled")).to_have_count(count)


async def test_an_answer_comes_as_markdown_with_its_figures(net: Talking, browser: Browser) -> None:
    page = await opened(net, browser)
    await asks(page, "How do islands form?")
    await net.answer(ANSWER)
    await settled(page)

    prose = page.locator(".answered .prose")
    assert await prose.locator("strong").inner_text() == "three"
    assert await prose.locator("ol > li").count() == 2
    assert await prose.locator("td").all_inner_texts() == ["volcanic", "Surtsey"]
    assert await prose.locator("pre .hljs-keyword").first.inner_text() == "def"
    link = prose.locator("a")
    assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
    figures = await page.locator(".told li").all_inner_texts()
    assert figures[0] == "reef" and "first token" in figures[1] and "tokens/s" in figures[2]
    assert figures[3].endswith("credits")
    assert await page.locator("#title").inner_text() == "How do islands form?"
    assert page.url.startswith(f"{net.url}/chat/cnv_")
    assert "Islands form" in await page.locator("#heard").inner_text()
    assert await page.input_value("#question") == ""


async def test_a_reload_in_mid_answer_goes_on_and_repeats_nothing(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    await asks(page, "Count.")
    job = await net.assigned()
    net.scene.stream(job, "one ", "two ")
    await expect(page.locator(".answered .prose")).to_have_text("one two")
    await page.reload()
    await expect(page.locator(".answered .prose")).to_have_text("one two")
    net.scene.stream(job, "three ", "four")
    await expect(page.locator(".answered .prose")).to_have_text("one two three four")
    await net.finish(job.id, "one ", "two ", "three ", "four")
    await settled(page)

    assert await page.locator(".asked .bubble").all_inner_texts() == ["Count."]
    assert await page.locator(".answered .prose").inner_text() == "one two three four"
    assert len(net.scene.bus.assigned) == 1


async def test_it_says_so_when_the_line_is_lost_and_goes_on_after_a_restart(
    browser: Browser,
) -> None:
    async with talking() as net:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            net.scene.world = replace(net.scene.world, public_url=url)
            net.url = url
            app = app_of(net.scene)
            async with served(app, first, hangs_up=True):
                page = await opened(net, browser)
                await asks(page, "Count.")
                job = await net.assigned()
                net.scene.stream(job, "one ")
                await expect(page.locator(".answered .prose")).to_have_text("one")
        await expect(page.locator("#line")).to_be_visible()
        net.scene.stream(job, "two ")
        with socket.create_server(("127.0.0.1", port)) as second:
            async with served(app, second, hangs_up=True):
                await expect(page.locator(".answered .prose")).to_have_text("one two")
                await expect(page.locator("#line")).to_be_hidden()
                await net.finish(job.id, "one ", "two ")
                await settled(page)
                await page.context.close()


async def test_stopping_keeps_what_was_delivered(net: Talking, browser: Browser) -> None:
    page = await opened(net, browser)
    await asks(page, "Count.")
    job = await net.assigned()
    net.scene.stream(job, "one ", "two")
    await expect(page.locator(".answered .prose")).to_have_text("one two")
    await page.keyboard.press("Escape")
    await settled(page)

    assert (await net.scene.job(job.id)).status.value == "cancelled"
    assert await page.locator(".answered .prose").inner_text() == "one two"
    assert "Stopped" in await page.locator(".answered .state").inner_text()
    await expect(page.locator("#send")).to_be_visible()


async def test_another_answer_and_another_question_take_their_places(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    await asks(page, "First?")
    await net.answer("one")
    await settled(page)
    await page.get_by_role("button", name="Regenerate").click()
    await net.answer("uno", 2)
    await expect(page.locator(".answered .prose")).to_have_text("uno")
    await settled(page)
    again = await page.locator(".answered .acts").inner_text()
    await page.locator(".asked").hover()
    await page.get_by_role("button", name="Edit").click()
    await page.get_by_label("The question, to be asked anew").fill("Second?")
    await page.get_by_role("button", name="Ask anew").click()
    await net.answer("eins", 3)
    await expect(page.locator(".answered .prose")).to_have_text("eins")
    await settled(page)

    assert "version 2 of 2" in again
    assert await page.locator(".bubble").all_inner_texts() == ["Second?"]
    assert await page.locator(".message").count() == 2


async def test_earlier_versions_are_turned_to_and_gone_on_with(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    await asks(page, "First?")
    await net.answer("one")
    await settled(page)
    await asks(page, "More?")
    await net.answer("two", 2)
    await expect(page.locator(".answered.settled")).to_have_count(2)
    await page.get_by_role("button", name="Regenerate").first.click()
    await net.answer("uno", 3)
    await settled(page)
    newest = await page.locator(".prose").all_inner_texts()

    await page.get_by_role("button", name="The version before").click()
    await expect(page.locator(".answered.settled")).to_have_count(2)
    earlier = await page.locator(".prose").all_inner_texts()
    await asks(page, "And then?")
    job = await net.assigned(4)
    await net.answer("three", 4)
    await expect(page.locator(".answered.settled")).to_have_count(3)
    await page.get_by_role("button", name="The version after").click()
    await expect(page.locator(".answered.settled")).to_have_count(1)
    later = await page.locator(".prose").all_inner_texts()
    grave = await _axe(page)
    await page.reload()
    await expect(page.locator(".answered.settled")).to_have_count(3)

    asked = [one["content"] for one in json.loads(job.input)["messages"]]
    assert (newest, earlier, later) == (["uno"], ["one", "two"], ["uno"])
    assert asked == ["First?", "one", "More?", "two", "And then?"]
    assert grave == []


async def test_a_double_click_asks_once(net: Talking, browser: Browser) -> None:
    page = await opened(net, browser)
    await page.fill("#question", "Once?")
    await page.locator("#send").dblclick()
    await net.answer("Yes.")
    await settled(page)

    assert await page.locator(".asked").count() == 1
    async with net.scene.store.begin() as tx:
        assert (await tx.jobs.of_user(net.scene.user.id, limit=1, offset=0))[1] == 1


async def test_it_says_why_nobody_answers_yet(browser: Browser) -> None:
    async with talking(island=False) as net:
        page = await opened(net, browser)
        await asks(page, "Anybody?")

        await expect(page.locator(".answered .state")).to_have_text(
            "Waiting for an Island: no Island is connected"
        )
        await page.context.close()


async def test_it_says_when_the_answer_moves_to_another_island(
    net: Talking, browser: Browser
) -> None:
    await net.scene.island(name="atoll")
    page = await opened(net, browser)
    await asks(page, "Count.")
    job = await net.assigned()
    net.scene.stream(job, "one ", "two ")
    first, second = ("reef", "atoll") if await _island(net, 0) == "reef" else ("atoll", "reef")
    await expect(page.locator(".answered .state")).to_contain_text(first)
    await net.finish(job.id, "one ", "two ", cause=Cause.CARGO_DIED, error="gone")
    await dispatch(net.scene.world, job.id)
    moved = await net.assigned(2)
    await expect(page.locator(".answered .state")).to_have_text(f"Moved to {second}")
    net.scene.stream(moved, "three")
    await net.finish(job.id, "one ", "two ", "three", first_position=2)
    await settled(page)

    assert await page.locator(".answered .prose").inner_text() == "one two three"
    told = await page.locator(".told li").all_inner_texts()
    assert told[0] == second and told[-1] == "moved 1×"


async def _island(net: Talking, number: int) -> str:
    island = net.scene.world.fleet.get(net.scene.bus.assigned[number].island_id)
    assert island is not None
    return island.name


async def test_a_failed_answer_says_why_and_can_be_asked_again(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    await asks(page, "Break!")
    job = await net.assigned()
    await net.finish(job.id, cause=Cause.CARGO_FAILED, error="the model <b>broke</b>")
    await settled(page)
    said = await page.locator(".answered .state").inner_text()
    await page.get_by_role("button", name="Regenerate").click()
    await net.answer("fine", 2)

    await expect(page.locator(".answered .prose")).to_have_text("fine")
    assert "the model <b>broke</b>" in said


async def test_too_little_credit_keeps_the_question_in_the_box(browser: Browser) -> None:
    async with talking(credit=1000) as net:
        page = await opened(net, browser)
        await asks(page, "Dear question")

        await expect(page.locator("#trouble")).to_contain_text("Not enough credits")
        assert await page.input_value("#question") == "Dear question"
        assert await page.locator(".message").count() == 0
        assert "running low" in await page.locator("#credits").inner_text()
        await page.context.close()


async def test_conversations_are_found_renamed_and_deleted_by_keyboard(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    for count, text in enumerate(("Tell of corals", "Tell of tides"), 1):
        await page.click("#new-talk")
        await asks(page, text)
        await net.answer("Gladly.", count)
        await settled(page)
    await expect(page.locator("#talk-list a")).to_have_text(["Tell of tides", "Tell of corals"])
    await page.locator("#scroller").focus()
    await page.keyboard.press("/")
    await page.keyboard.type("cora")
    await expect(page.locator("#talk-list a")).to_have_text(["Tell of corals"])
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("Tell of corals")
    await page.locator("#talk-menu summary").click()
    await page.click("#rename")
    await page.fill("#new-title", "Coral <i>talk</i>")
    await page.keyboard.press("Enter")
    await expect(page.locator("#title")).to_have_text("Coral <i>talk</i>")
    await page.locator("#talk-menu summary").click()
    await page.click("#delete")
    await page.locator("#deleting .bad").click()
    await expect(page.locator("#title")).to_have_text("New chat")
    await page.fill("#search", "")
    await expect(page.locator("#talk-list a")).to_have_text(["Tell of tides"])


async def test_parameters_reach_the_job_and_wrong_ones_are_told(
    net: Talking, browser: Browser
) -> None:
    page = await opened(net, browser)
    await page.click("#open-parameters")
    await page.fill("#p-system", "Be brief.")
    await page.fill("#p-temperature", "0.2")
    await page.fill("#p-max", "12")
    await page.fill("#p-seed", "7")
    await page.locator("#parameters button[value=keep]").click()
    await expect(page.locator("#parameters")).to_be_hidden()
    await asks(page, "Hello")
    job = await net.assigned()

    assert job.input == (
        b'{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello"}],'
        b'"max_tokens":12,"seed":7,"temperature":0.2}'
    )


async def test_shift_and_enter_is_a_new_line(net: Talking, browser: Browser) -> None:
    page = await opened(net, browser)
    await page.fill("#question", "one")
    await page.press("#question", "Shift+Enter")
    await page.locator("#question").press_sequentially("two")

    assert await page.input_value("#question") == "one\ntwo"
    assert not net.scene.bus.assigned


async def test_somebody_elses_conversation_is_not_there(net: Talking, browser: Browser) -> None:
    page = await net.page(browser)
    answer = await page.goto(f"/chat/cnv_{'0' * 26}")

    assert answer is not None and answer.status == 404


async def test_the_first_view_is_light(net: Talking, browser: Browser) -> None:
    page = await net.page(browser)
    loaded: dict[str, int] = {}

    async def weigh(response: object) -> None:
        if response.request.resource_type == "script":  # type: ignore[attr-defined]
            sizes = await response.request.sizes()  # type: ignore[attr-defined]
            loaded[response.url] = sizes["responseBodySize"]  # type: ignore[attr-defined]

    page.on("response", weigh)
    await page.goto("/chat", wait_until="networkidle")
    await until(lambda: len(loaded) >= 7)

    assert 20_000 < sum(loaded.values()) < SCRIPT_BYTES_MAX, loaded


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_it_is_usable_by_everybody_and_shown(
    net: Talking, browser: Browser, phone: bool, dark: bool
) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    name = f"{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}"
    page = await opened(net, browser, phone=phone, dark=dark)
    await page.screenshot(path=ARTIFACTS / f"chat-empty-{name}.png")
    empty = await _axe(page)
    await asks(page, "How do islands form, and can you tell them apart in Python?")
    await net.answer(ANSWER)
    await settled(page)
    await asks(page, "And which is the youngest?")
    job = await net.assigned(2)
    net.scene.stream(job, "The youngest that people have seen being born is ")
    await expect(page.locator(".answered .prose").nth(1)).to_contain_text("The youngest")
    await page.screenshot(path=ARTIFACTS / f"chat-{name}.png")
    full = await _axe(page)
    await page.click("#open-parameters")
    await page.screenshot(path=ARTIFACTS / f"chat-settings-{name}.png")
    settings = await _axe(page)

    assert [*empty, *full, *settings] == []
    wide = await page.locator("html").evaluate("e => e.scrollWidth - e.clientWidth")
    assert wide <= 0


async def _axe(page: Page) -> list[str]:
    """What is seriously wrong for people who see, hear or move differently."""
    found = await Axe().run(page)
    return [
        f"{one['id']}: {[node['html'][:200] for node in one['nodes']][:3]}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
