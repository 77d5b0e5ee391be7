"""The cookie of a session: what it admits, and what a hostile page, neighbour or customer tries with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.cookies import COOKIE
from archipelag_coordinator.domain.session import csrf_of
from archipelag_coordinator.domain.user import ApiKey, User
from archipelag_coordinator.testing.builders import a_session
from archipelag_coordinator.testing.fakes import START

from .conftest import Api

KEY = {"name": "new", "scopes": ["read"]}
SECRET = "as_" + "s" * 43
OTHER = "as_" + "o" * 43


async def signed_in(api: Api, secret: str = SECRET, **changes: Any) -> ApiKey:
    session = a_session(api.scene.user, secret=secret, **changes)
    async with api.scene.store.begin() as tx:
        await tx.keys.add(session)
    return session


def browser(
    api: Api, cookie: str | None = f"{COOKIE}={SECRET}", **headers: str | None
) -> httpx.AsyncClient:
    """A browser whose own page asks, but for what is said otherwise; None leaves a header out."""
    own = {
        "Cookie": cookie,
        "X-CSRF-Token": csrf_of(SECRET),
        "Sec-Fetch-Site": "same-origin",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(api.app),
        base_url="http://archipelag.test/api/v1",
        headers={name: value for name, value in own.items() if value is not None},
    )


async def test_a_cookie_admits_whom_it_belongs_to(api: Api) -> None:
    await signed_in(api)

    async with browser(api) as http:
        account = await http.get("/account")
        made = await http.post("/api-keys", json=KEY)

    assert account.json()["data"]["id"] == api.scene.user.id
    assert made.status_code == 201
    assert made.json()["data"]["expires_at"] is None
    assert made.json()["data"]["rate_per_minute"] is None


@pytest.mark.parametrize(
    "token", [None, "", csrf_of(OTHER), SECRET, csrf_of(SECRET)[:-1], "x" * 9999]
)
async def test_nothing_is_changed_without_this_sessions_token(api: Api, token: str | None) -> None:
    await signed_in(api)
    await signed_in(api, OTHER)

    async with browser(api, X_CSRF_Token=token) as http:
        looked = await http.get("/account")
        refused = [
            await http.post("/api-keys", json=KEY),
            await http.delete(f"/api-keys/{api.scene.key.id}"),
            await http.post("/chat/completions", json={}),
        ]

    assert looked.status_code == 200
    assert [answer.status_code for answer in refused] == [403] * 3
    async with api.scene.store.begin() as tx:
        assert (await tx.keys.of_user(api.scene.user.id))[0].revoked_at is None


async def test_the_token_of_an_earlier_session_does_not_hold(api: Api) -> None:
    await signed_in(api, OTHER, revoked_at=START)
    await signed_in(api)

    async with browser(api, X_CSRF_Token=csrf_of(OTHER)) as http:
        answer = await http.post("/api-keys", json=KEY)

    assert answer.status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "none", "SAME-ORIGIN, cross-site"])
async def test_other_sites_pages_change_nothing_even_with_the_token(api: Api, site: str) -> None:
    await signed_in(api)

    async with browser(api, Sec_Fetch_Site=site) as http:
        answer = await http.post("/api-keys", json=KEY)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("site", "status"), [("none", 200), (None, 200), ("cross-site", 403), ("same-site", 403)]
)
async def test_a_person_may_look_and_other_sites_may_not(
    api: Api, site: str | None, status: int
) -> None:
    await signed_in(api)

    async with browser(api, Sec_Fetch_Site=site) as http:
        assert (await http.get("/account")).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8420", 201),
        (None, 201),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1:8420.evil.example", 403),
    ],
)
async def test_an_old_browser_is_known_by_its_origin(
    api: Api, origin: str | None, status: int
) -> None:
    await signed_in(api)

    async with browser(api, Sec_Fetch_Site=None, Origin=origin) as http:
        assert (await http.post("/api-keys", json=KEY)).status_code == status


async def test_a_session_is_no_bearer_and_a_key_no_cookie(api: Api) -> None:
    await signed_in(api)

    async with api.client(SECRET) as http:
        bearer = await http.get("/account")
    async with browser(api, f"{COOKIE}={api.secret}") as http:
        cookie = await http.get("/account")
        both = await http.get("/account", headers={"Authorization": f"Bearer {SECRET}"})

    assert [a.status_code for a in (bearer, cookie, both)] == [401] * 3


async def test_a_key_that_is_shown_counts_and_the_cookie_does_not(api: Api) -> None:
    user, _, secret = await api.another()
    await signed_in(api)

    async with browser(api) as http:
        answer = await http.get("/account", headers={"Authorization": f"Bearer {secret}"})
        wrong = await http.get("/account", headers={"Authorization": "Bearer ak_" + "z" * 43})

    assert answer.json()["data"]["id"] == user.id
    assert wrong.status_code == 401


@pytest.mark.parametrize(
    "cookie",
    [
        f"{COOKIE}={SECRET}; {COOKIE}={OTHER}",
        f"{COOKIE}={OTHER}; {COOKIE}={SECRET}",
        f"{COOKIE}={SECRET}; {COOKIE}={SECRET}",
        f"{COOKIE}={SECRET};{COOKIE}=",
        f"{COOKIE}=",
        f'{COOKIE}="{SECRET}"',
        f"{COOKIE.upper()}={SECRET}",
        f"__Host-{COOKIE}={SECRET}",
        f"{COOKIE}={SECRET[:-1]}",
        f"{COOKIE}=as_{'z' * 43}",
        f"{COOKIE}",
        ";;=;",
    ],
)
async def test_two_cookies_or_none_of_ours_admit_nobody(api: Api, cookie: str) -> None:
    await signed_in(api)
    await signed_in(api, OTHER)

    async with browser(api, cookie) as http:
        assert (await http.get("/account")).status_code == 401


async def test_our_cookie_is_found_among_others(api: Api) -> None:
    await signed_in(api)

    async with browser(api, f"a=b; x{COOKIE}=1 ; {COOKIE}={SECRET}; theme=dark") as http:
        assert (await http.get("/account")).status_code == 200


@pytest.mark.parametrize(
    "changes", [{"revoked_at": START}, {"expires_at": START}, {"expires_at": START - timedelta(1)}]
)
async def test_what_is_over_is_over(api: Api, changes: dict[str, Any]) -> None:
    await signed_in(api, **changes)

    async with browser(api) as http:
        assert (await http.get("/account")).status_code == 401


async def test_the_suspended_are_refused_by_the_very_next_request(api: Api) -> None:
    await signed_in(api)

    async with browser(api) as http:
        before = await http.get("/account")
        async with api.scene.store.begin() as tx:
            await tx.users.save(replace(api.scene.user, suspended=True))
        after = await http.get("/account")

    assert (before.status_code, after.status_code) == (200, 403)


async def test_over_https_only_the_cookie_that_no_neighbour_can_set_counts(api: Api) -> None:
    await signed_in(api)
    world = replace(api.scene.world, public_url="https://net.example")
    app = create_app(world)
    statuses = []
    for cookie in (f"__Host-{COOKIE}={SECRET}", f"{COOKIE}={SECRET}"):
        async with browser(replace(api, app=app), cookie) as http:
            statuses.append((await http.get("/account")).status_code)

    assert statuses == [200, 401]


async def test_an_administrators_cookie_needs_the_token_too(api: Api) -> None:
    admin: User = api.scene.user
    await signed_in(api)
    async with api.scene.store.begin() as tx:
        await tx.users.save(replace(admin, role=type(admin.role).ADMIN))
    body = {"user_id": admin.id, "credits": "1", "cause": "gift"}

    async with browser(api, X_CSRF_Token=None) as http:
        refused = await http.post("/admin/grants", json=body)
    async with browser(api) as http:
        done = await http.post("/admin/grants", json=body)

    assert (refused.status_code, done.status_code) == (403, 201)


async def test_a_browser_sees_where_one_is_signed_in_and_signs_out(api: Api) -> None:
    here = await signed_in(api, user_agent="Here")
    there = await signed_in(api, OTHER, user_agent="There", created_at=START - timedelta(1))

    async with browser(api) as http:
        listed = (await http.get("/sessions")).json()["data"]
        keys = (await http.get("/api-keys")).json()["data"]
        out = await http.delete(f"/sessions/{there.id}")
        self_out = await http.delete(f"/sessions/{here.id}")
        after = await http.get("/account")

    assert [(one["user_agent"], one["current"]) for one in listed] == [
        ("Here", True),
        ("There", False),
    ]
    assert {here.id, there.id}.isdisjoint(key["id"] for key in keys)
    assert "set-cookie" not in out.headers
    cleared = self_out.headers["set-cookie"]
    assert cleared.startswith(f'{COOKIE}=""; ') and "Max-Age=0" in cleared
    assert (out.status_code, self_out.status_code, after.status_code) == (200, 200, 401)


async def test_signing_out_everywhere_signs_this_browser_out_too(api: Api) -> None:
    await signed_in(api)
    await signed_in(api, OTHER)

    async with browser(api) as http:
        done = await http.post("/sessions/sign-out-everywhere")
        after = await http.get("/account")
    async with api.client() as program:
        by_key = await program.get("/account")

    assert done.json() == {"data": {"signed_out": 2}}
    assert (after.status_code, by_key.status_code) == (401, 200)


async def test_a_session_is_not_revoked_as_a_key_nor_a_key_as_a_session(api: Api) -> None:
    session = await signed_in(api)

    async with browser(api) as http:
        as_key = await http.delete(f"/api-keys/{session.id}")
        as_session = await http.delete(f"/sessions/{api.scene.key.id}")
        shapeless = await http.delete("/sessions/nonsense")

    assert [a.status_code for a in (as_key, as_session, shapeless)] == [404] * 3
