"""Pictures and the playground, in a real browser."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from archipelag_coordinator.domain.answer import Progress
from archipelag_coordinator.domain.job import JobStatus
from archipelag_coordinator.testing.builders import a_job
from archipelag_coordinator.testing.fakes import START
from playwright.async_api import Browser, expect

from .talking import Talking, talking
from .test_chat_page import ARTIFACTS, _axe

pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {
    "type": "object",
    "required": ["prompt"],
    "additionalProperties": False,
    "properties": {
        "prompt": {"type": "string", "title": "Prompt", "format": "multiline", "maxLength": 1000},
        "steps": {"type": "integer", "title": "Steps", "minimum": 1, "maximum": 100, "default": 20},
        "guidance_scale": {"type": "number", "title": "Guidance", "minimum": 0, "maximum": 20},
        "style": {"title": "Style", "enum": ["plain", "wild"]},
        "tiled": {"type": "boolean", "title": "Tiled"},
        "words": {"type": "array", "items": {"type": "string"}, "title": "Words"},
        "file": {"type": "string", "format": "file", "title": "Picture"},
        "more": {"type": "object", "title": "More", "additionalProperties": True},
    },
}
PAINTER: dict[str, Any] = {
    "slug": "painter",
    "kind": "image",
    "name": "Painter",
    "model": None,
    "input": INPUT,
    "example": {"prompt": "a red circle"},
}


def png(size: int, colour: tuple[int, int, int]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + bytes(colour) * size for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def drawn(colour: tuple[int, int, int]) -> str:
    data = base64.b64encode(png(64, colour)).decode()
    return json.dumps({"image_data": data, "format": "png", "width": 64, "height": 64, "seed": 1})


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_a_picture_is_watched_while_it_is_drawn_and_kept(
    browser: Browser, phone: bool, dark: bool
) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    name = f"{'phone' if phone else 'desktop'}-{'dark' if dark else 'light'}"
    async with talking(**PAINTER) as net:
        page = await net.page(browser, phone=phone, dark=dark)
        await page.goto("/images")
        await page.get_by_label("Prompt").fill("a blue square")
        await page.click("#paint-now")
        job = await net.assigned()
        answer = net.scene.world.answers.get(job.id)
        assert answer is not None
        answer.note = Progress(3, 20, "", png(32, (20, 90, 200)), "image/png")
        answer.wake()
        await expect(page.locator("#preview img")).to_be_visible()
        await expect(page.locator("#doing")).to_have_text("Step 3 of 20")
        await page.screenshot(path=ARTIFACTS / f"images-drawing-{name}.png")
        await net.finish(job.id, drawn((20, 90, 200)))
        shown = page.locator("#gallery img")
        await expect(shown).to_have_count(1)
        await expect(shown).to_have_js_property("naturalWidth", 64)
        await page.screenshot(path=ARTIFACTS / f"images-{name}.png")

        assert json.loads(job.input)["prompt"] == "a blue square"
        assert await shown.get_attribute("alt") == "a blue square"
        assert await _axe(page) == []
        await page.context.close()


async def test_what_the_network_refuses_stands_at_its_field(browser: Browser) -> None:
    async with talking(**PAINTER) as net:
        page = await net.page(browser)
        await page.goto("/playground/painter")
        await page.get_by_label("More").fill("{")
        await page.click("#run")
        unread = await page.locator(".field:has(#in-more) .wrong").inner_text()
        await page.get_by_label("More").fill("")
        await page.locator("#in-steps").evaluate("e => { e.removeAttribute('max'); e.value = 999 }")
        await page.click("#run")

        await expect(page.locator(".field:has(#in-steps) .wrong")).to_contain_text("100")
        assert unread == "this is not JSON"
        assert not net.scene.bus.assigned
        await page.context.close()


async def test_any_cargos_form_sends_what_was_filled_in_and_shows_the_request(
    browser: Browser, tmp_path: Path
) -> None:
    async with talking(**PAINTER) as net:
        page = await net.page(browser)
        await page.goto("/playground/painter")
        await page.get_by_label("Prompt").fill('say "it\'s"')
        await page.get_by_label("Steps").fill("7")
        await page.get_by_label("Style").select_option("wild")
        await page.get_by_label("Tiled").check()
        await page.get_by_label("Words").fill("one\ntwo")
        await page.get_by_label("More").fill('{"deep": [1, null]}')
        (tmp_path / "a.txt").write_bytes(b"hello")
        await page.get_by_label("Picture").set_input_files(tmp_path / "a.txt")
        curl = await page.locator("#as-curl").inner_text()
        await page.get_by_text("Python", exact=True).click()
        python = await page.locator("#as-python").inner_text()
        await page.screenshot(path=ARTIFACTS / "playground-desktop-light.png", full_page=True)
        await page.click("#run")
        job = await net.assigned()
        await net.finish(job.id, drawn((200, 30, 30)))
        await expect(page.locator(".out img")).to_be_visible()

        sent = json.loads(job.input)
        assert sent.pop("file").startswith("file_")
        assert sent == {
            "prompt": 'say "it\'s"',
            "steps": 7,
            "style": "wild",
            "tiled": True,
            "words": ["one", "two"],
            "more": {"deep": [1, None]},
        }
        assert "'\\''" in curl and f"{net.url}/api/v1/jobs" in curl
        compile(python, "sample", "exec")
        assert '"deep": [1, None]' in python and '"tiled": True' in python
        assert await _axe(page) == []
        await page.context.close()


async def test_without_a_painter_the_page_says_so(net: Talking, browser: Browser) -> None:
    page = await net.page(browser)
    await page.goto("/images")

    await expect(page.locator("main")).to_contain_text("Nobody draws here yet")


def wav(seconds: float) -> bytes:
    """Silence: 8 bits, one channel, 8,000 samples a second."""
    data = b"\x80" * int(8000 * seconds)
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


async def test_sound_is_played_where_it_stands_and_nothing_else_is(browser: Browser) -> None:
    def made(number: int, name: str, kind: str) -> dict[str, Any]:
        given = {"id": f"file_{number}", "object": "file", "filename": name, "media_type": kind}
        return given | {"bytes": 9, "created_at": 1, "purpose": "output", "expires_at": 2}

    files = [made(1, "speech.wav", "audio/wav"), made(2, "page.html", "text/html")]
    async with talking(**PAINTER) as net:
        page = await net.page(browser)
        await page.route(
            "**/api/v1/jobs/*/files*", lambda route: route.fulfill(json={"data": files})
        )
        sound = {"body": wav(1.5), "content_type": "audio/wav"}
        await page.route("**/files/file_1/content", lambda route: route.fulfill(**sound))
        await page.goto("/playground/painter")
        await page.get_by_label("Prompt").fill("say it")
        await page.click("#run")
        job = await net.assigned()
        await net.finish(job.id, json.dumps({"seconds": 1.5}))
        player = page.get_by_label("speech.wav")
        await expect(player).to_have_js_property("duration", 1.5)

        assert await page.locator(".made audio, .made video").count() == 1
        assert await _axe(page) == []
        await page.context.close()


async def test_the_gallery_asks_for_no_picture_that_is_out_of_sight_and_goes_back_by_pages(
    browser: Browser,
) -> None:
    async with talking(**PAINTER) as net:
        jobs = [
            a_job(
                net.scene.user,
                cargo=net.scene.cargo,
                status=JobStatus.SUCCEEDED,
                created_at=START + timedelta(seconds=number),
                ended_at=START + timedelta(seconds=number),
                input=json.dumps({"prompt": f"number {number}"}).encode(),
                output=drawn((number, 0, 0)),
            )
            for number in range(30)
        ]
        async with net.scene.store.begin() as tx:
            for job in jobs:
                await tx.jobs.add(job)
        page = await net.page(browser)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto("/images")
        shown = page.locator("#gallery img")
        await expect(shown).to_have_count(24)
        newest = await shown.first.get_attribute("alt")
        await page.get_by_role("button", name="Older pictures").click()
        await expect(shown).to_have_count(30)
        await expect(page.get_by_role("button", name="Older pictures")).to_be_hidden()

        assert newest == "number 29"
        assert await shown.last.get_attribute("alt") == "number 0"
        assert not [url for url in asked if "/api/v1/jobs?" in url]
        await page.context.close()
