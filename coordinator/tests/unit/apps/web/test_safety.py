"""What every page carries and what none does: headers, no script or style of its own, no stranger's markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from archipelag_coordinator.apps.web import app as web
from archipelag_coordinator.apps.web.render import TEMPLATES
from archipelag_coordinator.errors import CoordinatorError

from .house import HOSTILE, House, a_full_house
from .rooms import doors

TEMPLATE_FILES = sorted(TEMPLATES.glob("*.html"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Elements(HTMLParser):
    """What a browser would make of a page: tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)


def check_markup(text: str, where: str) -> None:
    """No script but our own files, no style but our own file, no handler, no address of another host."""
    for tag, attributes in Elements(text).found:
        assert "style" not in attributes, (where, tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (where, tag, attributes)
        assert tag not in ("style", "iframe", "object", "embed", "base"), (where, tag)
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/static/"), (where, attributes)
        for name in ("src", "href", "action", "data-live", "data-stream"):
            value = attributes.get(name)
            if value is not None:
                local = value.startswith("/") and not value.startswith("//")
                assert local or value.startswith("#"), (where, tag, name, value)


async def every_page(house: House) -> list[tuple[str, str, httpx.Response]]:
    """As nobody and as each person; of forms, what they answer to a person."""
    found = []
    for door in doors(house):
        for who in (None, "ada", "operator", "admin"):
            if door.posts:
                # Signing out would end the session that the next form needs.
                if who is None or door.path.startswith("/sign-"):
                    continue
                answer = await house.post(
                    who, door.address, name="", email="x", credits="x", trust="9", role="x"
                )
            else:
                async with house.browser(who) as http:
                    answer = await http.get(door.address)
            found.append((door.path, who or "nobody", answer))
    for name in ("waiting", "running", "failed", "picture"):
        async with house.browser("ada") as http:
            found.append((name, "ada", await http.get(f"/jobs/{house.jobs[name].id}")))
    return found


async def test_every_answer_carries_the_headers(house: House) -> None:
    answers = await every_page(house)
    async with house.browser() as http:
        answers += [
            (p, "nobody", await http.get(p))
            for p in ("/nowhere", "/static/nothing.css", "/favicon.ico")
        ]

    assert len(answers) > 120
    for path, who, answer in answers:
        where = (path, who)
        assert answer.headers["content-security-policy"] == POLICY, where
        assert answer.headers["x-content-type-options"] == "nosniff", where
        assert answer.headers["referrer-policy"] == "same-origin", where
        assert answer.headers["cross-origin-opener-policy"] == "same-origin", where
        assert "camera=()" in answer.headers["permissions-policy"], where
        assert answer.status_code < 500, (where, answer.text[:300])


async def test_no_page_has_script_or_style_of_its_own(house: House) -> None:
    for path, who, answer in await every_page(house):
        if answer.headers.get("content-type", "").startswith("text/html"):
            check_markup(answer.text, f"{path} as {who}")


async def test_hostile_text_in_every_field_stays_text() -> None:
    house = await a_full_house(HOSTILE)
    shown = 0
    for path, who, answer in await every_page(house):
        assert answer.status_code < 500, (path, who, answer.text[:300])
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        check_markup(answer.text, f"{path} as {who}")
        assert "<script>alert" not in answer.text, (path, who)
        assert "<img src=x" not in answer.text, (path, who)
        assert "9877" not in answer.text  # Nobody's text is a template.
        shown += answer.text.count("&lt;script&gt;alert(&#39;h&#39;)&lt;/script&gt;")

    assert shown > 60, "the hostile text is not shown at all, so this proves nothing"


async def test_hostile_queries_stay_text(house: House) -> None:
    for path in (
        "/jobs?status={}&offset={}",
        "/credits?account={}&offset={}",
        "/admin/islands?status={}&search={}",
        "/admin/people?search={}&offset={}",
        "/admin/cargos?status={}&offset={}",
        "/admin/audit?before={}{}",
        "/sign-in?next={}{}",
        "/?done={}{}",
    ):
        async with house.browser(None if path.startswith("/sign-in") else "admin") as http:
            answer = await http.get(path.format(HOSTILE, HOSTILE))
        assert answer.status_code == 200, path
        check_markup(answer.text, path)
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize("template", TEMPLATE_FILES, ids=lambda path: path.name)
def test_no_template_turns_escaping_off(template: Path) -> None:
    text = template.read_text()

    assert not re.search(
        r"\|\s*safe\b|autoescape|Markup|\bstyle\s*=|\bon[a-z]+\s*=\s*[\"']|<style|javascript:", text
    )
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"""(?:src|href|action)=["'](?:https?:)?//""", text)


@pytest.mark.parametrize("template", TEMPLATE_FILES, ids=lambda path: path.name)
def test_every_form_of_a_template_has_its_token(template: Path) -> None:
    for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", template.read_text(), re.DOTALL):
        assert "csrf(token)" in form, form


async def test_output_is_saved_as_plain_text_whatever_it_is() -> None:
    house = await a_full_house(HOSTILE)
    async with house.browser("ada") as http:
        answer = await http.get(f"/jobs/{house.jobs['done'].id}/output")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert HOSTILE in answer.text


async def test_a_picture_is_one_by_its_own_bytes(house: House) -> None:
    async with house.browser("ada") as http:
        drawn = await http.get(f"/jobs/{house.jobs['picture'].id}/picture")
        text = await http.get(f"/jobs/{house.jobs['done'].id}/picture")

    assert drawn.headers["content-type"] == "image/png"
    assert drawn.content.startswith(b"\x89PNG")
    assert text.status_code == 404


async def test_our_own_mistake_tells_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(web.jobs.read, "list_jobs", fails)
    async with house.browser("ada") as http:
        answer = await http.get("/jobs")

    assert answer.status_code == 500
    assert "secret of the house" not in answer.text
    assert "on our side" in answer.text
    assert answer.headers["content-security-policy"] == POLICY


async def test_what_is_away_comes_back_by_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise ConnectionError("no database")

    monkeypatch.setattr(web.jobs.read, "list_jobs", away)
    async with house.browser("ada") as http:
        answer = await http.get("/jobs")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert '<meta http-equiv="refresh" content="4">' in answer.text
    assert "no database" not in answer.text


def test_each_error_of_the_pages_has_words() -> None:
    words = (TEMPLATES / "error.html").read_text()
    for kind, _ in web._STATUS:
        assert issubclass(kind, CoordinatorError)
        shown_by_its_room = kind.__name__ in ("InvalidInput", "Conflict", "NotPermitted")
        assert f'"{kind.code}"' in words or shown_by_its_room, kind


async def test_too_many_pages_in_a_minute_are_told_when_to_come_back(house: House) -> None:
    async with house.browser("ada") as http:
        for _ in range(house.scene.world.policy.session_requests_per_minute):
            assert (await http.get("/live/stats")).status_code == 200
        for _ in range(house.scene.world.policy.session_requests_per_minute + 1):
            answer = await http.get("/settings")
            if answer.status_code == 429:
                break

    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "A little slower" in answer.text
