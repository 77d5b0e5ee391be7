"""Who may do what: every route against every kind of key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from archipelag_contracts import ids
from archipelag_coordinator.apps.api.envelope import Envelope
from archipelag_coordinator.apps.api.links import Links
from archipelag_coordinator.apps.loops import table
from archipelag_coordinator.domain.policy import Policy
from archipelag_coordinator.domain.user import Role, Scope
from archipelag_coordinator.testing.builders import a_key, a_secret, a_user
from archipelag_coordinator.testing.fakes import START

from .conftest import (
    READ,
    Api,
    a_browsers_session,
    a_signed_body,
    a_submitted_cargo,
    an_api,
    chat,
)

OPEN, SEES, DOES, RULES = "open", "read", "write", "admin"


@dataclass(frozen=True)
class Door:
    """A route, what it needs, and what a caller with everything gets. `own`: other people get 404. `owners`: so does
    who neither owns the Island, as nobody here does, nor looks after all."""

    method: str
    path: str
    needs: str
    status: int = 200
    body: Any = None
    own: bool = False
    owners: bool = False
    form: Any = None
    publishers: bool = False
    """Strangers get 404; administrators see it."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


JOB = {"workload": "llm-chat", "input": {"prompt": "hello", "max_tokens": 4}}
BATCH = {"workload": "llm-chat", "inputs": [{"prompt": "a"}, {"prompt": "b"}]}
KEY = {"name": "new", "scopes": ["read"]}
FILE = {"files": {"file": ("a.txt", b"hello")}, "data": {"purpose": "user_data"}}
SOUND = {"files": {"file": ("a.wav", b"hello")}, "data": {"model": "none"}}


def openai(method: str, path: str, *what: Any, **more: Any) -> list[Door]:
    """A door that an OpenAI client finds under its own base, too."""
    return [Door(method, f"{base}{path}", *what, **more) for base in ("/api/v1", "/v1")]


CHECKS = {"checks": [{"name": "license", "passed": True, "said": "Apache-2.0"}], "sbom": {"a": 1}}
TALK = "/api/v1/conversations/{conversation}"
DOORS = [
    Door("GET", "/api/v1/health", OPEN),
    Door("GET", "/api/v1/ready", OPEN),
    Door("GET", "/api/v1/network/stats", OPEN),
    Door("GET", "/api/v1/signing-keys", OPEN),
    Door("GET", "/api/v1/openapi.json", OPEN),
    Door("GET", "/api/v1/docs", OPEN),
    Door("GET", "/api/v1/account", SEES),
    Door("GET", "/api/v1/account/transfers", SEES),
    Door("GET", "/api/v1/usage", SEES),
    Door("GET", "/api/v1/hosts/{host_id}/earnings", SEES, owners=True),
    Door("GET", "/api/v1/models", SEES),
    Door("GET", "/v1/models", SEES),
    Door("GET", "/api/v1/models/{model}", SEES),
    Door("GET", "/v1/models/{model}", SEES),
    Door("GET", "/api/v1/workloads", SEES),
    Door("GET", "/api/v1/workloads/{slug}", SEES),
    Door("GET", "/api/v1/hosts", SEES),
    Door("GET", "/api/v1/hosts/{host_id}", SEES),
    Door("GET", "/api/v1/hosts/{host_id}/karma", SEES),
    Door("GET", "/api/v1/hosts/{host_id}/usage", SEES, owners=True),
    Door("GET", "/api/v1/jobs", SEES),
    Door("GET", "/api/v1/jobs/{job_id}", SEES, own=True),
    Door("GET", "/api/v1/jobs/{job_id}/output", SEES, own=True),
    Door("GET", "/api/v1/jobs/{job_id}/stream", SEES, own=True),
    Door("GET", "/api/v1/jobs/{job_id}/why", SEES, own=True),
    Door("GET", "/api/v1/hosts/{host_id}/why", SEES, owners=True),
    Door("PATCH", "/api/v1/hosts/{host_id}", DOES, body={"draining": True}, owners=True),
    Door("DELETE", "/api/v1/jobs/{job_id}", DOES, own=True),
    Door("POST", "/api/v1/jobs", DOES, 201, JOB),
    Door("POST", "/api/v1/jobs/batch", DOES, 201, BATCH),
    Door("GET", "/api/v1/jobs/batches", SEES),
    Door("GET", "/api/v1/jobs/{batch_id}/batch-status", SEES, own=True),
    # Nobody answers here: an unknown model shows that the door was passed.
    Door("POST", "/api/v1/chat/completions", DOES, 404, chat(model="none")),
    Door("POST", "/v1/chat/completions", DOES, 404, chat(model="none")),
    *openai("POST", "/embeddings", DOES, 404, {"model": "none", "input": "x"}),
    *openai("POST", "/images/generations", DOES, 404, {"model": "none", "prompt": "x"}),
    *openai("POST", "/audio/speech", DOES, 404, {"model": "none", "input": "x"}),
    *openai("POST", "/audio/transcriptions", DOES, 404, form=SOUND),
    *openai("POST", "/files", DOES, form=FILE),
    *openai("GET", "/files", SEES),
    *openai("GET", "/files/{file_id}", SEES, own=True),
    *openai("GET", "/files/{file_id}/content", SEES, own=True),
    *openai("DELETE", "/files/{file_id}", DOES, own=True),
    Door("GET", "/api/v1/links/{file_id}/{until}/{signature}", OPEN),
    Door("GET", "/api/v1/jobs/{job_id}/files", SEES, own=True),
    Door("POST", "/api/v1/conversations", DOES, 201, {"model": "small-model"}),
    Door("GET", "/api/v1/conversations", SEES),
    Door("GET", f"{TALK}", SEES, own=True),
    Door("GET", f"{TALK}/export", SEES, own=True),
    Door("PATCH", f"{TALK}", DOES, body={"title": "Reefs"}, own=True),
    Door("DELETE", f"{TALK}", DOES, own=True),
    Door("POST", f"{TALK}/messages", DOES, 201, {"content": "And then?"}, own=True),
    Door("POST", f"{TALK}/messages/{{number}}/edit", DOES, 201, {"content": "No"}, own=True),
    Door("POST", f"{TALK}/messages/{{number}}/regenerate", DOES, 201, {}, own=True),
    Door("GET", "/api/v1/api-keys", SEES),
    Door("POST", "/api/v1/api-keys", DOES, 201, KEY),
    Door("DELETE", "/api/v1/api-keys/{key_id}", DOES, own=True),
    Door("GET", "/api/v1/sessions", SEES),
    Door("POST", "/api/v1/sessions/sign-out-everywhere", DOES),
    Door("DELETE", "/api/v1/sessions/{session_id}", DOES, own=True),
    Door("PATCH", "/api/v1/api-keys/{key_id}", DOES, body={"name": "renamed"}, own=True),
    Door("POST", "/api/v1/pairing-codes", DOES, 201),
    Door("POST", "/api/v1/cargos", DOES, 201, a_signed_body()),
    Door("GET", "/api/v1/cargos", SEES),
    Door("GET", "/api/v1/cargos/{cargo_id}", SEES, publishers=True),
    Door("DELETE", "/api/v1/cargos/{cargo_id}", DOES, publishers=True),
    Door("GET", "/api/v1/admin/cargos", RULES),
    Door("POST", "/api/v1/admin/cargos/{cargo_id}/checks", RULES, body=CHECKS),
    Door("POST", "/api/v1/admin/cargos/{cargo_id}/approve", RULES, 409, {"trust": 1}),
    Door("POST", "/api/v1/admin/cargos/{cargo_id}/reject", RULES, body={"reason": "no"}),
    Door("POST", "/api/v1/admin/cargos/{cargo_id}/revoke", RULES, body={"reason": "no"}),
    Door("GET", "/api/v1/admin/users", RULES),
    Door("GET", "/api/v1/admin/users/{user_id}", RULES),
    Door("POST", "/api/v1/admin/users/{user_id}/role", RULES, body={"role": "operator"}),
    Door("POST", "/api/v1/admin/users/{user_id}/suspend", RULES),
    Door("POST", "/api/v1/admin/users/{user_id}/restore", RULES),
    Door("GET", "/api/v1/admin/audit", RULES),
    Door("GET", "/api/v1/admin/audit/check", RULES),
    Door("GET", "/api/v1/admin/islands", RULES),
    Door("POST", "/api/v1/admin/islands/{island_id}/approve", RULES),
    Door("POST", "/api/v1/admin/islands/{island_id}/suspend", RULES),
    Door("POST", "/api/v1/admin/islands/{island_id}/restore", RULES, 409),
    Door("GET", "/api/v1/admin/queues", RULES),
    Door("GET", "/api/v1/admin/ledger-check", RULES),
    Door("GET", "/api/v1/admin/health", RULES),
    Door("POST", "/api/v1/admin/grants", RULES, 201, {"credits": "1", "cause": "gift"}),
]
CALLERS = (
    "nobody",
    "wrong",
    "shapeless",
    "expired",
    "revoked",
    "reader",
    "full",
    "stranger",
    "admin",
    "reading admin",
    "operator",
)


def expected(door: Door, caller: str) -> int:
    if door.needs == OPEN:
        return door.status
    if caller in ("nobody", "wrong", "shapeless", "expired", "revoked"):
        return 401
    reads_only = caller in ("reader", "reading admin")
    if reads_only and (door.needs == DOES or (door.needs == RULES and door.method != "GET")):
        return 403
    looks = ("operator",) if door.method == "GET" else ()
    if door.needs == RULES and caller not in ("admin", "reading admin", *looks):
        return 403
    if door.own and caller in ("stranger", "admin", "reading admin", "operator"):
        return 404
    if door.publishers and caller in ("stranger", "operator"):
        return 404
    if door.owners and caller in ("reader", "full", "stranger"):
        return 404
    if door.owners and door.needs == DOES and caller == "operator":
        return 403
    return door.status


async def secret_of(api: Api, caller: str) -> str:
    match caller:
        case "nobody":
            return ""
        case "wrong":
            return "ak_" + "z" * 43
        case "shapeless":
            return "sk-not-ours"
        case "expired":
            return await api.another_key(expires_at=START - timedelta(seconds=1))
        case "revoked":
            return await api.another_key(revoked_at=START)
        case "reader":
            return await api.another_key(scopes=READ)
        case "full":
            return api.secret
        case "stranger":
            return (await api.another())[2]
        case "admin":
            return (await api.another(role=Role.ADMIN))[2]
        case "operator":
            return (await api.another(role=Role.OPERATOR))[2]
        case "reading admin":
            return (await api.another(role=Role.ADMIN, scopes=READ))[2]
    raise AssertionError(caller)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("door", DOORS, ids=str)
async def test_every_door_for_every_caller(api: Api, door: Door, caller: str) -> None:
    async with api.client() as http:
        job = (await http.post("/jobs", json=JOB)).json()["data"]["id"]
        await api.answer("x")
        made = await http.post("/api-keys", json=KEY)
        assert made.status_code == 201, made.text
        key = made.json()["data"]["id"]
    path = await path_of(api, door, job_id=job, key_id=key)
    body = door.body
    if "grants" in door.path:
        body = body | {"user_id": api.scene.user.id}
    secret = await secret_of(api, caller)

    async with api.client(secret) as http:
        url = f"http://archipelag.test{path}"
        answer = await http.request(door.method, url, json=body, **door.form or {})

    assert answer.status_code == expected(door, caller), answer.text
    if answer.status_code in (401, 403):
        told = answer.json()
        assert set(told) == {"error"} and set(told["error"]) == {"code", "message", "type"}
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


async def path_of(api: Api, door: Door, **known: str) -> str:
    """Where the door is, with names of what stands here."""
    (island,) = api.scene.world.fleet.islands()
    async with api.client() as http:
        file = str((await http.post("/files", **FILE)).json()["id"])
        talk = (await http.post("/conversations", json={"model": "small-model"})).json()["data"][
            "id"
        ]
        asked = await http.post(f"/conversations/{talk}/messages", json={"content": "hello"})
        assert asked.status_code == 201, asked.text
    await api.answer("Hello")
    async with api.client() as http:
        batch = (await http.post("/jobs/batch", json=BATCH)).json()["data"]["id"]
    links: Links = app_of(api.app).state.settings.links
    expires_at = START + timedelta(hours=1)
    until, signature = links.path(ids.file_id(file), expires_at).split("/")[-2:]
    return door.path.format(
        host_id=island.id,
        island_id=island.id,
        user_id=api.scene.owner.id,
        slug="llm-chat",
        model="small-model",
        file_id=file,
        batch_id=batch,
        cargo_id=await a_submitted_cargo(api),
        session_id=await a_browsers_session(api),
        until=until,
        signature=signature,
        conversation=talk,
        number=1,
        **known,
    )


def app_of(app: Any) -> Any:
    assert isinstance(app, Envelope)
    return app._app


def routes_of(app: Any) -> set[tuple[str, str]]:
    document: dict[str, Any] = app_of(app).openapi_schema
    return {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }


async def test_the_matrix_knows_every_route(api: Api) -> None:
    known = {(door.method, door.path) for door in DOORS}

    # The two pages that describe the rest describe not themselves.
    described = routes_of(api.app) | {("GET", "/api/v1/openapi.json"), ("GET", "/api/v1/docs")}

    assert known == described


async def test_a_suspended_person_is_refused_with_a_key_that_holds(api: Api) -> None:
    async with api.scene.store.begin() as tx:
        user, secret = a_user(suspended=True), a_secret()
        await tx.users.add(user)
        await tx.keys.add(a_key(user, secret=secret))
    async with api.client(secret) as http:
        answer = await http.get("/account")

    assert answer.status_code == 403


async def test_a_revoked_key_is_refused_by_the_very_next_request(api: Api) -> None:
    async with api.client() as http:
        made = (await http.post("/api-keys", json=KEY)).json()
    async with api.client(made["key"]) as other:
        before = await other.get("/account")
        async with api.client() as http:
            revoked = await http.delete(f"/api-keys/{made['data']['id']}")
        after = await other.get("/account")

    assert (before.status_code, revoked.status_code, after.status_code) == (200, 200, 401)
    assert revoked.json()["data"]["revoked_at"] is not None
    assert "revoked" in after.json()["error"]["message"]
    assert api.scene.bus.keys_changes == 1


async def test_a_key_is_shown_once_and_listed_by_prefix(api: Api) -> None:
    wanted = KEY | {"expires_at": "2027-01-01T00:00:00Z", "budget": "2.5"}
    async with api.client() as http:
        made = (await http.post("/api-keys", json=wanted)).json()
        listed = (await http.get("/api-keys")).json()["data"]

    secret = made["key"]
    assert secret.startswith(made["data"]["prefix"])
    assert made["data"]["budget"] == "2.5" and made["data"]["scopes"] == ["read"]
    assert made["data"]["expires_at"] == "2027-01-01T00:00:00.000Z"
    assert made["data"] in listed
    assert secret not in str(listed)


async def test_a_key_asked_for_again_is_named_and_not_made_twice(api: Api) -> None:
    once = {"Idempotency-Key": "once"}
    async with api.client() as http:
        made = (await http.post("/api-keys", json=KEY, headers=once)).json()
        before = (await http.get("/api-keys")).json()["data"]
        await http.delete(f"/api-keys/{made['data']['id']}")
        again = await http.post("/api-keys", json=KEY, headers=once)
        after = (await http.get("/api-keys")).json()["data"]
        odd = await http.post("/api-keys", json=KEY, headers={"Idempotency-Key": "two words"})
    _, _, secret = await api.another()
    async with api.client(secret) as stranger:
        theirs = await stranger.post("/api-keys", json=KEY, headers=once)

    assert again.status_code == 409
    assert again.json()["error"]["code"] == "already_made"
    assert again.json()["error"]["key_id"] == made["data"]["id"]
    assert "key" not in again.json() and made["key"] not in again.text
    assert len(after) == len(before)
    assert (odd.status_code, theirs.status_code) == (422, 201)


async def test_a_bounded_key_cannot_make_an_unbounded_one(api: Api) -> None:
    until_then = START + timedelta(days=1)
    short = await api.another_key(expires_at=until_then, rate_per_minute=50)
    poor = await api.another_key(budget=5)
    async with api.client(short) as http:
        made = (await http.post("/api-keys", json=KEY | {"rate_per_minute": 900})).json()["data"]
    async with api.client(poor) as http:
        refused = await http.post("/api-keys", json=KEY)

    assert made["expires_at"] == "2026-01-02T12:00:00.000Z"
    assert made["rate_per_minute"] == 50
    assert refused.status_code == 403


async def test_a_keys_budget_is_402_with_figures(api: Api) -> None:
    secret = await api.another_key(budget=10)
    async with api.client(secret) as http:
        answer = await http.post("/jobs", json=JOB)

    error = answer.json()["error"]
    assert answer.status_code == 402
    assert (error["code"], error["available"]) == ("budget_exceeded", "0.00001")


async def test_too_many_requests_are_429_and_told_when_to_come_back() -> None:
    api = await an_api(Policy(requests_per_minute=3))
    async with api.client() as http:
        answers = [await http.get("/account") for _ in range(5)]
        api.scene.clock.advance(int(answers[-1].headers["retry-after"]))
        later = await http.get("/account")

    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    remaining = [a.headers["x-ratelimit-remaining-requests"] for a in answers]
    assert remaining == ["2", "1", "0", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    assert later.status_code == 200


async def test_other_people_see_less_of_an_island(api: Api) -> None:
    _, _, admin = await api.another(role=Role.ADMIN)
    async with api.client() as http:
        (shown,) = (await http.get("/hosts")).json()["data"]
    async with api.client(admin) as http:
        (whole,) = (await http.get("/hosts")).json()["data"]

    assert "owner_id" not in shown and "capabilities" not in shown
    assert whole["owner_id"] == api.scene.owner.id
    assert shown["cargos"][0]["state"] == "warm"


async def test_an_owner_sees_what_the_island_was_paid_and_others_only_its_karma(api: Api) -> None:
    _, _, admin = await api.another(role=Role.ADMIN)
    async with api.client() as http:
        job = (await http.post("/jobs", json=JOB)).json()["data"]
        api.scene.clock.advance(18)
        await api.answer("Hel", "lo")
        (attempt,) = (await http.get(f"/jobs/{job['id']}")).json()["data"]["attempts"]
        host = f"/hosts/{attempt['island_id']}"
        karma = (await http.get(f"{host}/karma")).json()["data"]
    async with api.client(admin) as http:
        (row,) = (await http.get(f"{host}/usage")).json()["data"]
        (note,) = (await http.get(f"{host}/karma")).json()["data"]["notes"]

    assert karma == {
        "points": 0.005,
        "tier": "new",
        "payout_open": False,
        "good_hours": 0.005,
        "faults": {},
    }
    assert attempt["usage"] == {
        "cause": "completed",
        "first_position": 0,
        "next_position": 2,
        "prompt_tokens": 5,
        "reread_tokens": 0,
        "seconds": 18.0,
        "paid_from_charge": "0.000255",
        "paid_from_insurance": "0",
        "owed": "0",
    }
    assert row.items() > attempt["usage"].items() and row["job_id"] == job["id"]
    assert (note["kind"], note["points"], note["job_id"]) == ("good_work", 0.005, job["id"])


async def test_a_suspended_island_is_cut_off_and_listed_and_can_come_back(api: Api) -> None:
    _, _, admin = await api.another(role=Role.ADMIN)
    (island,) = api.scene.world.fleet.islands()
    async with api.client(admin) as http:
        job = (await http.post("/jobs", json=JOB)).json()["data"]
        await api.assigned()
        suspended = await http.post(f"/admin/islands/{island.id}/suspend")
        await table.break_leases(api.scene.world)
        after = (await http.get(f"/jobs/{job['id']}")).json()["data"]
        listed = (await http.get("/admin/islands")).json()["data"]
        restored = await http.post(f"/admin/islands/{island.id}/restore")

    assert suspended.json()["data"]["status"] == "suspended"
    assert [one["status"] for one in listed] == ["suspended"]
    assert after["attempts"][0]["status"] == "lost" and after["status"] == "queued"
    assert restored.json()["data"]["status"] == "enrolled"
    assert api.scene.broker.cut_off == {}


async def test_a_grant_arrives_once_for_each_cause(api: Api) -> None:
    _, _, admin = await api.another(role=Role.ADMIN)
    before = await api.scene.balance()
    gift = {"user_id": api.scene.user.id, "credits": "1.5", "cause": "prize"}
    async with api.client(admin) as http:
        first = await http.post("/admin/grants", json=gift)
        again = await http.post("/admin/grants", json=gift)
        other = await http.post("/admin/grants", json=gift | {"credits": "2"})

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["data"]["granted"] and not again.json()["data"]["granted"]
    assert await api.scene.balance() == before + 1_500_000


async def test_scopes_are_checked_before_anything_is_read(api: Api) -> None:
    secret = await api.another_key(scopes=frozenset({Scope.READ}))
    async with api.client(secret) as http:
        answer = await http.post("/chat/completions", content=b"{" * 100)

    assert answer.status_code == 403
