"""An administrator's doors for people and the audit log, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.user import Role

from .conftest import Api


async def test_a_suspended_persons_key_is_refused_by_the_very_next_request(api: Api) -> None:
    admin, _, secret = await api.another(role=Role.ADMIN)
    user = api.scene.user

    async with api.client() as theirs, api.client(secret) as http:
        before = await theirs.get("/account")
        suspended = await http.post(f"/admin/users/{user.id}/suspend")
        refused = await theirs.get("/account")
        restored = await http.post(f"/admin/users/{user.id}/restore")
        after = await theirs.get("/account")
        log = (await http.get("/admin/audit")).json()["data"]
        check = (await http.get("/admin/audit/check")).json()["data"]

    assert [a.status_code for a in (before, refused, after)] == [200, 403, 200]
    assert suspended.json()["data"]["suspended"] and not restored.json()["data"]["suspended"]
    assert [(one["actor"], one["act"], one["subject"]) for one in log] == [
        (admin.id, "user.restore", user.id),
        (admin.id, "user.suspend", user.id),
    ]
    assert check == {"whole": True, "entries": 2, "broken_at": None, "hash": log[0]["hash"]}


async def test_the_log_is_read_in_pages(api: Api) -> None:
    _, _, secret = await api.another(role=Role.ADMIN)
    (island,) = api.scene.world.fleet.islands()

    async with api.client(secret) as http:
        for act in ("suspend", "restore", "suspend"):
            await http.post(f"/admin/islands/{island.id}/{act}")
        first = (await http.get("/admin/audit?limit=2")).json()["data"]
        rest = (await http.get(f"/admin/audit?before={first[-1]['number']}")).json()["data"]

    assert [one["number"] for one in first + rest] == [3, 2, 1]
    assert rest[0]["previous"] == "00" * 32


async def test_an_operator_looks_and_does_not_act(api: Api) -> None:
    _, _, secret = await api.another(role=Role.OPERATOR)

    async with api.client(secret) as http:
        looked = [
            (await http.get(f"/admin/{at}")).status_code for at in ("users", "audit", "islands")
        ]
        refused = await http.post(f"/admin/users/{api.scene.user.id}/role", json={"role": "admin"})
        itself = await http.get("/account")

    assert looked == [200] * 3
    assert refused.status_code == 403 and "'admin'" in refused.json()["error"]["message"]
    assert itself.json()["data"]["role"] == "operator"


async def test_the_last_administrator_is_told_why(api: Api) -> None:
    admin, _, secret = await api.another(role=Role.ADMIN)

    async with api.client(secret) as http:
        answer = await http.post(f"/admin/users/{admin.id}/role", json={"role": "user"})

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "last_administrator"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["role"]),
        ({"role": "root"}, ["role"]),
        ({"role": ["admin"]}, ["role"]),
        ({"role": {"a": 1}}, ["role"]),
        ({"role": None}, ["role"]),
        ({"role": "user", "email": "x@y.z"}, ["email"]),
    ],
)
async def test_a_role_must_be_one(api: Api, body: Any, fields: list[str]) -> None:
    _, _, secret = await api.another(role=Role.ADMIN)

    async with api.client(secret) as http:
        answer = await http.post(f"/admin/users/{api.scene.user.id}/role", json=body)

    assert answer.status_code == 422 and list(answer.json()["errors"]) == fields


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "search=" + "x" * 255])
async def test_a_list_has_its_bounds(api: Api, query: str) -> None:
    _, _, secret = await api.another(role=Role.ADMIN)

    async with api.client(secret) as http:
        assert (await http.get(f"/admin/users?{query}")).status_code == 422


async def test_people_are_searched_literally(api: Api) -> None:
    _, _, secret = await api.another(role=Role.ADMIN)

    async with api.client(secret) as http:
        nothing = (await http.get("/admin/users", params={"search": "%"})).json()
        found = (await http.get("/admin/users", params={"search": api.scene.user.id})).json()
        poison = await http.get("/admin/users", params={"search": "\0"})
        missing = [await http.get(f"/admin/users/{one}") for one in ("x", "usr_" + "0" * 26)]

    assert nothing["meta"] == {"total": 0, "limit": 20, "offset": 0}
    assert [one["id"] for one in found["data"]] == [api.scene.user.id]
    assert poison.status_code == 200
    assert [answer.status_code for answer in missing] == [404, 404]
