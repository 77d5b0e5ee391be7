"""Keys that are changed, and what an operator sees: queues, the books, every part's health."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.domain.ledger import Account, AccountId
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.testing.fakes import START

from .conftest import Api, an_api
from .test_access import KEY
from .test_description import description, problems
from .test_jobs import made


async def a_key_of(api: Api) -> tuple[str, str]:
    """Its id and secret."""
    async with api.client() as http:
        whole = (await http.post("/api-keys", json=KEY | {"scopes": ["write"]})).json()
    return whole["data"]["id"], whole["key"]


async def patched(api: Api, key_id: str, secret: str | None = None, **body: Any) -> Any:
    async with api.client(secret) as http:
        return await http.patch(f"/api-keys/{key_id}", json=body)


async def test_a_key_is_changed_from_the_next_request_on(api: Api) -> None:
    key_id, secret = await a_key_of(api)
    answer = await patched(
        api, key_id, name="ci", budget="0.5", rate_per_minute=1, expires_at="2026-01-02T12:00:00Z"
    )
    async with api.client(secret) as http:
        first, second = await http.get("/account"), await http.get("/account")
    await patched(api, key_id, rate_per_minute=None)
    api.scene.clock.advance(60)  # What was asked too soon drains first.
    async with api.client(secret) as http:
        third = await http.get("/account")
        api.scene.clock.advance(timedelta(days=1).total_seconds())
        expired = await http.get("/account")

    shown = answer.json()["data"]
    assert (shown["name"], shown["budget"], shown["rate_per_minute"]) == ("ci", "0.5", 1)
    assert shown["expires_at"] == "2026-01-02T12:00:00.000Z"
    assert [one.status_code for one in (first, second, third)] == [200, 429, 200]
    assert expired.status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"name": 3}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"budget": "much"}, "budget"),
        ({"budget": -1}, "budget"),
        ({"budget": True}, "budget"),
        ({"rate_per_minute": 1.5}, "rate_per_minute"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"scopes": ["write"]}, "scopes"),
        ({"used": "0"}, "used"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_named_and_nothing_changes(
    api: Api, body: dict[str, Any], field: str
) -> None:
    key_id, _ = await a_key_of(api)

    answer = await patched(api, key_id, **body)

    assert answer.status_code == 422, answer.text
    assert list(answer.json()["errors"]) == [field]
    async with api.client() as http:
        keys = (await http.get("/api-keys")).json()["data"]
    (kept,) = [key for key in keys if key["id"] == key_id]
    assert (kept["name"], kept["budget"], kept["rate_per_minute"]) == ("new", None, None)


async def test_a_bounded_key_is_refused_more_than_it_has(api: Api) -> None:
    poor = await api.another_key(budget=5)
    key_id, _ = await a_key_of(api)
    async with api.client() as http:
        keys = (await http.get("/api-keys")).json()["data"]
    (own,) = [key["id"] for key in keys if key["budget"] == "0.000005"]

    answers = [
        await patched(api, own, poor, budget="1"),
        await patched(api, own, poor, budget=None),
        await patched(api, key_id, poor, budget=None),
        await patched(api, own, poor, budget="0.000004"),
        await patched(api, own, budget="1"),
    ]

    assert [one.status_code for one in answers] == [403, 403, 403, 200, 200]


async def test_revoked_unknown_and_other_peoples_keys_are_not_changed(api: Api) -> None:
    key_id, _ = await a_key_of(api)
    _, theirs, _ = await api.another()
    async with api.client() as http:
        await http.delete(f"/api-keys/{key_id}")

    answers = [
        await patched(api, one, name="x")
        for one in (key_id, theirs.id, "key_" + "0" * 26, "x", "%00")
    ]

    assert [one.status_code for one in answers] == [409, 404, 404, 404, 404]


async def admin_of(api: Api) -> Any:
    return api.client((await api.another(role=Role.ADMIN))[2])


async def got(api: Api, path: str, shape: str) -> dict[str, Any]:
    async with await admin_of(api) as http:
        answer = await http.get(path)
    assert answer.status_code == 200, answer.text
    document = await description(api)
    assert problems(document, document["components"]["schemas"][shape], answer.json(), "") == []
    shown: dict[str, Any] = answer.json()["data"]
    return shown


async def test_queues_tell_what_waits_and_for_how_long() -> None:
    api = await an_api()
    empty = await got(api, "/admin/queues", "Queues")
    await made(api)
    api.scene.clock.advance(12.5)
    await made(api)

    queues = await got(api, "/admin/queues", "Queues")

    assert empty == {"jobs": [], "chores": []}
    assert queues["jobs"] == [
        {"workload": "llm-chat", "queued": 2, "running": 0, "oldest_wait_s": 12.5}
    ]


async def test_the_books_are_checked_and_what_drifted_is_named(api: Api) -> None:
    right = await got(api, "/admin/ledger-check", "LedgerCheck")
    name = AccountId(f"user:{api.scene.user.id}")
    # Behind the ledger's back, as nothing of ours can.
    api.scene.store._state.accounts.put(name, Account(name, 7, 0))

    wrong = await got(api, "/admin/ledger-check", "LedgerCheck")

    assert (right["balanced"], right["drifted"]) == (True, [])
    assert wrong["balanced"] is False
    (drifted,) = wrong["drifted"]
    assert (drifted["account"], drifted["kept"]["balance"]) == (name, "0.000007")
    assert drifted["rebuilt"]["balance"] == "1"


async def health_of(api: Api) -> tuple[str, dict[str, bool]]:
    health = await got(api, "/admin/health", "NetworkHealth")
    return health["status"], {part["name"]: part["ok"] for part in health["parts"]}


async def test_health_names_the_part_that_is_not_well(api: Api) -> None:
    nobody = await health_of(api)
    world = api.scene.world
    async with api.scene.store.begin() as tx:
        await tx.coordinators.beat(world.home, START)
    well = await health_of(api)
    seen = (await got(api, "/admin/health", "NetworkHealth"))["coordinators"]
    api.scene.bus.connected = False
    (island,) = world.fleet.islands()
    world.fleet.forget(island.id)
    api.scene.clock.advance(60)
    ill = await health_of(api)

    assert nobody[0] == "degraded" and not nobody[1]["coordinators"]
    assert well == (
        "ok",
        dict.fromkeys(("database", "broker", "leader", "chores", "coordinators", "islands"), True),
    )
    assert seen == [
        {"id": world.home, "seen_at": "2026-01-01T12:00:00.000Z", "alive": True, "this": True}
    ]
    assert ill[0] == "degraded"
    assert [name for name, ok in ill[1].items() if not ok] == ["broker", "coordinators", "islands"]


@pytest.mark.parametrize("answers", [True, False])
async def test_health_asks_the_stream(api: Api, answers: bool) -> None:
    async def says() -> str:
        if not answers:
            raise ConnectionError("no")
        return "REPORTS keeps 3"

    api.app = create_app(api.scene.world, stream_says=says)

    health = await got(api, "/admin/health", "NetworkHealth")

    (stream,) = [part for part in health["parts"] if part["name"] == "stream"]
    assert stream["ok"] is answers
    assert stream["said"] == ("REPORTS keeps 3" if answers else "does not answer: ConnectionError")
