"""Forms: refused without the token of this session, from other sites, or when they are no forms at all."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from archipelag_coordinator.apps.web.settings import FORM_COOKIE
from archipelag_coordinator.domain.session import csrf_of

from .house import BASE, House, token_in
from .rooms import doors


async def test_every_form_needs_its_token(house: House) -> None:
    posted = [door for door in doors(house) if door.posts]
    assert len(posted) >= 20
    for door in posted:
        for who in (None, "admin"):
            async with house.browser(who) as http:
                for form in (
                    {"other": "x"},
                    {"token": ""},
                    {"token": "x" * 43},
                    {"token": csrf_of(house.secrets["ada"])},
                ):
                    answer = await http.post(door.address, data=form)
                    assert answer.status_code == 403, (door, who, form)
                    assert "load the page again" in answer.text


async def test_a_token_of_another_session_is_refused(house: House) -> None:
    async with house.browser("stranger") as http:
        theirs = token_in((await http.get("/settings")).text)
    async with house.browser("ada") as http:
        answer = await http.post("/settings/keys", data={"token": theirs, "name": "mine"})

    assert answer.status_code == 403
    async with house.scene.store.begin() as tx:
        assert "mine" not in [key.name for key in await tx.keys.of_user(house.ada.id)]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
async def test_a_form_from_elsewhere_is_refused_even_with_the_token(
    house: House, headers: dict[str, str]
) -> None:
    token = csrf_of(house.secrets["ada"])
    async with house.browser("ada") as http:
        answer = await http.post("/islands/pair", data={"token": token}, headers=headers)
        fine = await http.post(
            "/islands/pair",
            data={"token": token},
            headers={"origin": BASE, "sec-fetch-site": "same-origin"},
        )

    assert answer.status_code == 403
    assert "pair-code" not in answer.text
    assert fine.status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, 400),
        (
            {
                "content": b"token=%ff%fe",
                "headers": {"content-type": "application/x-www-form-urlencoded"},
            },
            400,
        ),
        ({"files": {"token": b"x"}}, 400),
        ({"data": {f"f{n}": "x" for n in range(300)}}, 400),
        ({"data": {"token": "x" * 70_000}}, 413),
        ({"content": b""}, 400),
    ],
)
async def test_what_is_no_form_is_refused(house: House, sent: dict[str, Any], status: int) -> None:
    async with house.browser("ada") as http:
        answer = await http.post("/settings/keys", **sent)

    assert answer.status_code == status


async def test_a_strangers_form_is_tied_to_their_browser(house: House) -> None:
    async with house.browser() as one, house.browser() as other:
        token = token_in((await one.get("/sign-in")).text)
        await other.get("/sign-in")
        refused = await other.post("/sign-in", data={"token": token, "email": "eve@example.org"})
        taken = await one.post("/sign-in", data={"token": token, "email": "eve@example.org"})

    assert refused.status_code == 403
    assert taken.status_code == 200
    assert [sent.to for sent in house.scene.mail.sent] == ["eve@example.org"]


async def test_the_form_cookie_is_kept_from_scripts(house: House) -> None:
    async with house.browser() as http:
        first = await http.get("/sign-in")
        second = await http.get("/sign-in")

    (cookie,) = first.headers.get_list("set-cookie")
    assert cookie.startswith(f"{FORM_COOKIE}=")
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
    assert "set-cookie" not in second.headers
    assert token_in(first.text) == token_in(second.text)


async def test_forms_are_sent_by_post_only(house: House) -> None:
    for door in doors(house):
        if door.posts and door.path not in {d.path for d in doors(house) if not d.posts}:
            async with house.browser("admin") as http:
                answer: httpx.Response = await http.get(door.address)
            # A link, or a picture's address, must not do what a form does.
            assert answer.status_code in (404, 405), door
