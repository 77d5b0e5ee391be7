"""What strangers and models write does no harm in the chat, however it is cut while it comes."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.attempt import Cause
from playwright.async_api import Browser, Page, expect

from .talking import Talking, talking

pytestmark = pytest.mark.asyncio(loop_scope="module")

HIT = "window.hit=1"
HOSTILE = {
    "image": f"<img src=x onerror='{HIT}'>",
    "script": f"<script>{HIT}</script>",
    "svg": f"<svg onload='{HIT}'><animate onbegin='{HIT}' attributeName=x dur=1s></svg>",
    "link": f"[click](javascript:{HIT}) <a href='javascript:{HIT}'>b</a> [c](JaVaScRiPt:{HIT})",
    "data link": f"[d](data:text/html,<script>{HIT}</script>) [v](vbscript:{HIT}) [f](file:///etc/passwd)",
    "entities": f"[e](&#106;avascript:{HIT}) [t](java\tscript:{HIT}) &lt;img src=x onerror={HIT}&gt;",
    "picture": '![a](https://tracker.example/x.png) ![b](x" onerror="window.hit=1)',
    "data picture": "![c](data:image/svg+xml,<svg/onload=1>)",
    "style": "<style>body{display:none}</style><p style='position:fixed;inset:0'>over all</p>",
    "form": "<form action='https://evil.example'><input name=token><button>go</button></form>",
    "frame": f"<iframe srcdoc='<script>parent.{HIT}</script>'></iframe><object data=x><embed src=x>",
    "code": f"```html\n<img src=x onerror='{HIT}'><script>{HIT}</script>\n```\n`<img src=x onerror={HIT}>`",
    "fence": f"```js\"><img src=x onerror={HIT}>\nlet a = '</code></pre><img src=x onerror={HIT}>'\n```",
    "clobber": "<a id=said name=said href=x></a><img name=getElementById><p id=composer>x</p>",
    "mutation": f"<math><mtext><table><mglyph><style><img src=x onerror='{HIT}'>",
    "template": "<noscript><p title='</noscript><img src=x onerror=window.hit=1>'></noscript>",
    "half": f"text <img src=x onerror='{HIT}' and **bold [link](javas",
    "auto": f'<javascript:{HIT}> <https://example.org/"onmouseover="{HIT}>',
    "table": f"|a|b|\n|---|---|\n|<img src=x onerror={HIT}>|[x](javascript:{HIT})|",
    "footnote": f"[r]\n\n[r]: javascript:{HIT} 'title\" onmouseover={HIT}'",
}
FORBIDDEN = (
    "img, svg, script, style, iframe, object, embed, form, input, button:not(.copy), math, template, "
    "[style], [id], [name], [onerror], [onload], [onclick], [onmouseover], "
    "a[href]:not([href^='http://'], [href^='https://'], [href^='mailto:'])"
)


async def watched(net: Talking, browser: Browser) -> tuple[Page, list[str]]:
    """A page, and all that it did that it should not."""
    page = await net.page(browser)
    wrong: list[str] = []
    page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: wrong.append(f"error {error}"))
    page.on(
        "request",
        lambda one: None if one.url.startswith((net.url, "blob:")) else wrong.append(one.url),
    )
    await page.goto("/chat")
    return page, wrong


async def harm_in(page: Page, place: str) -> list[Any]:
    found: list[Any] = (
        await page.locator(place)
        .locator(FORBIDDEN)
        .evaluate_all("all => all.map(one => one.outerHTML.slice(0, 200))")
    )
    if await page.evaluate("() => window.hit ?? null") is not None:
        found.append("script has run")
    return found


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_a_model_says_is_shown_and_never_run(
    net: Talking, browser: Browser, name: str
) -> None:
    text = HOSTILE[name]
    page, wrong = await watched(net, browser)
    await page.fill("#question", "Say it")
    await page.press("#question", "Enter")
    job = await net.assigned()
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    for piece in pieces:
        net.scene.stream(job, piece)
        # A frame is drawn of each half-finished text.
        await page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
        assert await harm_in(page, ".answered .prose") == []
    await net.finish(job.id, *pieces)
    await expect(page.locator(".answered.settled")).to_have_count(1)
    live = await harm_in(page, ".answered .prose")
    await page.reload()
    await expect(page.locator(".answered.settled")).to_have_count(1)
    again = await harm_in(page, ".answered .prose")

    assert (live, again, wrong) == ([], [], [])
    assert await page.locator(".answered .prose").inner_text() != ""


async def test_questions_titles_names_and_errors_are_text(browser: Browser) -> None:
    evil = f"<img src=x onerror='{HIT}'><script>{HIT}</script>"
    async with talking(island=False, name=evil) as net:
        await net.scene.island(name=evil)
        page, wrong = await watched(net, browser)
        await page.fill("#question", evil)
        await page.press("#question", "Enter")
        await net.answer("fine")
        await expect(page.locator(".answered.settled")).to_have_count(1)
        await page.fill("#question", "And then?")
        await page.press("#question", "Enter")
        job = await net.assigned(2)
        await net.finish(job.id, cause=Cause.CARGO_FAILED, error=evil)
        await expect(page.locator(".answered.settled")).to_have_count(2)
        await page.reload()
        await expect(page.locator(".answered.settled")).to_have_count(2)

        assert await page.locator(".bubble").first.inner_text() == evil
        assert evil[:20] in await page.locator("#title").inner_text()
        assert await page.locator(".told a").first.inner_text() == evil
        assert evil in await page.locator(".state").last.inner_text()
        assert await page.locator("main img, main script, main iframe").count() == 0
        assert await page.evaluate("() => window.hit ?? null") is None
        assert wrong == []
        await page.context.close()


async def test_the_playground_shows_hostile_output_as_what_it_is(browser: Browser) -> None:
    async with talking(slug="evil", name=HOSTILE["image"], description=HOSTILE["script"]) as net:
        page, wrong = await watched(net, browser)
        await page.goto("/playground/evil")
        await page.get_by_label("Prompt", exact=True).fill(HOSTILE["script"])
        await page.click("#run")
        await net.answer("\n\n".join(HOSTILE.values()))
        await expect(page.locator(".out .prose")).to_be_visible()

        assert await harm_in(page, ".out .prose") == []
        assert wrong == []
        await page.context.close()
