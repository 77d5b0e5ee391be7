"""Signing in and out as a person does it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.cookies import COOKIE
from archipelag_coordinator.apps.web.app import create_pages
from archipelag_coordinator.apps.web.asking import local_path
from archipelag_coordinator.domain.user import Role

from .house import BASE, House, a_house, token_in

LINK = re.compile(r"/sign-in/al_[0-9A-Za-z]{43}")


def browser_of(house: House, base: str = BASE) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url=base)


async def ask(http: httpx.AsyncClient, email: str, next_path: str = "") -> httpx.Response:
    page = await http.get("/sign-in", params={"next": next_path} if next_path else {})
    (back,) = re.findall(r'name="next" value="([^"]*)">\s*<div class="field">', page.text)
    form = {"token": token_in(page.text), "next": back, "email": email}
    return await http.post("/sign-in", data=form)


def mailed(house: House) -> str:
    found = LINK.search(house.scene.mail.sent[-1].text)
    assert found
    return found.group()


async def follow(http: httpx.AsyncClient, link: str) -> httpx.Response:
    return await http.post(link, data={"token": token_in((await http.get(link)).text)})


async def test_a_mailed_link_signs_in_once_by_a_button(empty_house: House) -> None:
    house = empty_house
    async with browser_of(house) as http:
        told = await ask(http, "new@example.org", "/credits?account=earned")
        link = mailed(house)
        looked_at = await http.get(link)
        assert COOKIE not in http.cookies
        answer = await follow(http, link)
        page = await http.get(answer.headers["location"])
        again = await http.get(link)

    assert "new@example.org" in told.text
    assert "new@example.org" in looked_at.text
    assert answer.status_code == 303
    assert answer.headers["location"] == "/credits?account=earned"
    (cookie,) = answer.headers.get_list("set-cookie")
    for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=2592000"):
        assert word in cookie
    assert "Secure" not in cookie
    assert page.status_code == 200
    assert again.status_code == 410
    assert "Send another" in again.text


async def test_the_first_time_leads_to_the_quickstart(empty_house: House) -> None:
    async with browser_of(empty_house) as http:
        await ask(http, "new@example.org")
        first = await follow(http, mailed(empty_house))
    async with browser_of(empty_house) as http:
        await ask(http, "new@example.org")
        second = await follow(http, mailed(empty_house))

    assert first.headers["location"] == "/quickstart"
    assert second.headers["location"] == "/"


async def test_over_tls_the_cookie_is_this_hosts_alone() -> None:
    house = await a_house()
    world = replace(house.scene.world, public_url="https://archipelag.test")
    house.app = create_pages(world)
    async with browser_of(house, "https://archipelag.test") as http:
        await ask(http, "new@example.org")
        answer = await follow(http, mailed(house))

    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert "Secure" in cookie


@pytest.mark.parametrize(
    "link", ["/sign-in/al_" + "x" * 43, "/sign-in/nonsense", "/sign-in/" + "y" * 3000]
)
async def test_an_unknown_link_offers_another(empty_house: House, link: str) -> None:
    async with browser_of(empty_house) as http:
        answer = await http.get(link)

    assert answer.status_code == 410
    assert "Send another" in answer.text


async def test_an_expired_link_offers_another(empty_house: House) -> None:
    async with browser_of(empty_house) as http:
        await ask(http, "new@example.org")
        token = token_in((await http.get(mailed(empty_house))).text)
        empty_house.scene.clock.advance(901)
        answer = await http.post(mailed(empty_house), data={"token": token})

    assert answer.status_code == 410
    assert "Send another" in answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")


async def test_an_address_that_is_none_is_told_at_the_field(empty_house: House) -> None:
    async with browser_of(empty_house) as http:
        answer = await ask(http, "not an address")

    assert answer.status_code == 422
    assert "must be an address" in answer.text
    assert 'value="not an address"' in answer.text
    assert 'aria-invalid="true"' in answer.text


async def test_known_and_unknown_addresses_are_answered_alike(empty_house: House) -> None:
    answers = []
    for email in (empty_house.admin.email, "nobody@example.org"):
        async with browser_of(empty_house) as http:
            answer = await ask(http, email)
            answers.append(
                (
                    answer.status_code,
                    re.sub(r'value="[^"]*"|content="[^"]*"', "", answer.text.replace(email, "X")),
                )
            )

    assert answers[0] == answers[1]


async def test_signing_out_ends_the_session(house: House) -> None:
    answer = await house.post("ada", "/sign-out")
    async with house.browser("ada") as http:
        after = await http.get("/settings")

    assert answer.headers["location"] == "/"
    assert f'{COOKIE}=""' in answer.headers["set-cookie"]
    assert after.status_code == 303


async def test_signing_out_everywhere_ends_the_others_too(house: House) -> None:
    async with browser_of(house) as http:
        await ask(http, house.ada.email)
        await follow(http, mailed(house))
        assert (await http.get("/settings")).status_code == 200
        await house.post("ada", "/sign-out-everywhere")
        assert (await http.get("/settings")).status_code == 303
    async with house.browser("stranger") as http:
        assert (await http.get("/settings")).status_code == 200


async def test_one_session_is_ended_from_another(house: House) -> None:
    async with browser_of(house) as http:
        await ask(http, house.ada.email)
        await follow(http, mailed(house))
        shown = (await http.get("/settings")).text
        ends = re.findall(r"/settings/sessions/(key_[0-9a-z]+)/end", shown)
        assert len(ends) == 1
        answer = await http.post(
            f"/settings/sessions/{ends[0]}/end", data={"token": token_in(shown)}
        )

    assert answer.status_code == 303
    async with house.browser("ada") as http:
        assert (await http.get("/settings")).status_code == 303


async def test_a_suspended_person_is_refused_at_once(house: House) -> None:
    async with house.scene.store.begin() as tx:
        await tx.users.save(replace(house.ada, suspended=True))
    for path in ("/", "/jobs", "/live/jobs"):
        async with house.browser("ada") as http:
            answer = await http.get(path)
        assert answer.status_code == 403
        assert "suspended" in answer.text
    assert (await house.post("admin", "/settings/keys", name="x")).status_code == 200


async def test_two_session_cookies_are_nobody(house: House) -> None:
    both = f"{COOKIE}={house.secrets['ada']}; {COOKIE}={house.secrets['stranger']}"
    async with house.browser(cookie=both) as http:
        assert (await http.get("/settings")).status_code == 303


async def test_an_api_key_in_the_cookie_is_nobody(house: House) -> None:
    async with house.browser(cookie=f"{COOKIE}=ak_{'k' * 43}") as http:
        assert (await http.get("/settings")).status_code == 303


@pytest.mark.parametrize(
    "given",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "\\/evil",
        "javascript:alert(1)",
        "/a\nb",
        "",
        "x",
        "/" + "a" * 600,
        None,
    ],
)
def test_nobody_is_sent_to_another_host(given: str | None) -> None:
    assert local_path(given) == "/"


def test_a_local_path_is_kept_with_its_query() -> None:
    assert local_path("/jobs?status=failed&offset=25") == "/jobs?status=failed&offset=25"


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("evil.example", "127.0.0.1"),
        ("evil.example:8420", "127.0.0.1"),
        ("127.0.0.1.evil.example", "127.0.0.1"),
        ("[::1", "127.0.0.1"),
        ("192.0.2.7:8420", "127.0.0.1"),
        ("127.0.0.1:8420", "192.0.2.7"),
        ("127.0.0.1:8420", "testclient"),
        ("127.0.0.1:8420", "::ffff:192.0.2.7"),
    ],
)
async def test_the_mailbox_is_for_this_machine_alone(house: House, host: str, client: str) -> None:
    transport = httpx.ASGITransport(house.app, client=(client, 50_000))
    async with httpx.AsyncClient(
        transport=transport, base_url=BASE, headers={"host": host}
    ) as http:
        assert (await http.get("/mailbox")).status_code == 404
        assert "/mailbox" not in (await http.get("/")).text


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip", "via"])
async def test_the_mailbox_is_not_for_those_behind_a_proxy(house: House, header: str) -> None:
    async with house.browser(**{header: "192.0.2.7"}) as http:
        assert (await http.get("/mailbox")).status_code == 404


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("localhost:8420", "127.0.0.1"),
        ("[::1]:8420", "::1"),
        ("127.0.0.1:8420", "::ffff:127.0.0.1"),
    ],
)
async def test_the_mailbox_is_open_on_this_machine(house: House, host: str, client: str) -> None:
    transport = httpx.ASGITransport(house.app, client=(client, 50_000))
    async with httpx.AsyncClient(
        transport=transport, base_url=BASE, headers={"host": host}
    ) as http:
        assert (await http.get("/mailbox")).status_code == 200


async def test_the_mailbox_links_to_our_own_links_only(house: House) -> None:
    letter = house.box.letters[0]
    house.box.letters.append(
        replace(letter, text="https://evil.example/sign-in/al_" + "e" * 43 + " javascript:alert(1)")
    )
    async with house.browser() as http:
        shown = (await http.get("/mailbox")).text

    links = re.findall(r'class="button" href="([^"]*)"', shown)
    assert links == [f"/sign-in/al_{'l' * 43}", f"/sign-in/al_{'e' * 43}"]


async def test_the_first_of_an_empty_network_is_its_administrator(empty_house: House) -> None:
    assert Role.ADMIN in {empty_house.admin.role}
    async with browser_of(empty_house) as http:
        await ask(http, "second@example.org")
        await follow(http, mailed(empty_house))
        assert (await http.get("/admin")).status_code == 403


class Provider:
    """That is never asked: nobody comes so far."""

    async def address(self, journey: object, callback: str) -> str:
        raise ConnectionError("out of reach")

    async def claims(self, journey: object, code: str, callback: str) -> Any:
        raise AssertionError("asked without a journey")


async def test_what_goes_wrong_at_a_provider_is_told_by_the_sign_in_page(
    empty_house: House,
) -> None:
    world = replace(empty_house.scene.world, identity_provider=Provider())
    whole = create_app(world, pages=create_pages(world))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(whole), base_url=BASE) as http:
        form = await http.get("/sign-in?next=/credits")
        away = await http.get("/openid/begin?next=/credits")
        lost = await http.get("/openid/callback?code=x&state=y")
        told = await http.get(lost.headers["location"])
        odd = await http.get("/sign-in?refused=<b>")

    assert 'href="/openid/begin?next=/credits"' in form.text
    assert (away.status_code, away.headers["location"]) == (303, "/sign-in?refused=503")
    assert (lost.status_code, lost.headers["location"]) == (303, "/sign-in?refused=403")
    assert not away.content and not lost.content
    assert "word was not enough" in told.text
    assert "refused" not in re.sub(r'name="next" value="[^"]*"', "", odd.text)


async def test_pages_and_api_share_one_door_and_keep_their_own_errors(house: House) -> None:
    whole = create_app(house.scene.world, pages=house.app)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(whole), base_url=BASE, cookies={COOKIE: house.secrets["ada"]}
    ) as http:
        page = await http.get("/nowhere")
        api = [
            await http.get(path)
            for path in ("/api/v1/nowhere", "/v1/nowhere", "/api/nowhere", "/v1", "/api")
        ]
        own = await http.get("/api/v1/account")

    assert page.headers["content-type"].startswith("text/html")
    assert [one.headers["content-type"] for one in api] == ["application/json"] * 5
    assert own.json()["data"]["id"] == house.ada.id
    assert page.headers["x-request-id"] and page.headers["referrer-policy"] == "same-origin"
