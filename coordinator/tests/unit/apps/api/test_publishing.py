"""A Cargo's way through the API: submitted, checked, listed, run within its schema, revoked."""

from __future__ import annotations

from typing import Any

import pytest
from archipelag_coordinator.domain.user import Role
from archipelag_coordinator.testing.builders import a_stored_cargo

from .conftest import Api, a_signed_body

ALL = ["image", "sbom", "license", "conformance"]
PASSED = {"checks": [{"name": name, "passed": True} for name in ALL], "sbom": {"parts": []}}


async def test_a_cargo_is_submitted_checked_listed_and_revoked(api: Api) -> None:
    secret = (await api.another(role=Role.ADMIN))[2]
    async with api.client() as http, api.client(secret) as admin:
        made = await http.post("/cargos", json=a_signed_body())
        again = await http.post("/cargos", json=a_signed_body())
        at = made.headers["location"].removeprefix("/api/v1")
        waiting = (await admin.get("/admin/cargos?status=submitted")).json()["data"]
        hidden = await http.get("/workloads/theirs")
        checked = (await admin.post(f"/admin{at}/checks", json=PASSED)).json()["data"]
        too_wide = await admin.post(f"/admin{at}/approve", json={"trust": 0})
        listed = (await admin.post(f"/admin{at}/approve", json={"trust": 1})).json()["data"]
        shown = (await http.get("/workloads/theirs")).json()["data"]
        keys = (await http.get("/signing-keys")).json()["data"]
        revoked = await admin.post(f"/admin{at}/revoke", json={"reason": "it steals"})
        read = (await http.get(at)).json()["data"]
        gone = await http.get("/workloads/theirs")

    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    assert [one["id"] for one in waiting] == [made.json()["data"]["id"]]
    assert hidden.status_code == 404
    assert checked["status"] == "verified"
    assert too_wide.status_code == 422 and "standard" in too_wide.text
    assert (listed["status"], listed["trust"], listed["tier"]) == ("listed", 1, "standard")
    assert (shown["trust"], shown["runtime"], shown["image"]) == (1, "native", None)
    assert shown["publisher"]["fingerprint"] in [key.get("fingerprint") for key in keys]
    assert revoked.status_code == 200
    assert (read["status"], read["reason"]) == ("revoked", "it steals")
    assert gone.status_code == 404


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"manifest": "%%%"}, "manifest"),
        ({"signature": "AAAA"}, "signature"),
        ({"public_key": "PEM"}, "public_key"),
        ({"reference": 5}, "reference"),
        ({"payload": ""}, "payload"),
        ({"more": 1}, "more"),
    ],
)
async def test_a_submission_that_cannot_be_read_says_which_field(
    api: Api, changes: dict[str, Any], field: str
) -> None:
    async with api.client() as http:
        refused = await http.post("/cargos", json=a_signed_body() | changes)

    assert refused.status_code == 422
    assert list(refused.json()["errors"]) == [field]


async def test_another_publishers_slug_and_too_many_submissions_are_conflicts(api: Api) -> None:
    stranger = (await api.another())[2]
    async with api.client() as http, api.client(stranger) as other:
        await http.post("/cargos", json=a_signed_body())
        taken = await other.post("/cargos", json=a_signed_body(version="9.0.0"))
        for patch in range(api.scene.world.policy.submissions_open_max):
            last = await http.post("/cargos", json=a_signed_body(version=f"1.1.{patch}"))

    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "slug_taken")
    assert (last.status_code, last.json()["error"]["code"]) == (409, "too_many_submissions")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("checks", {"checks": [{"name": "smell", "passed": True}]}),
        ("checks", {"checks": []}),
        ("checks", {"checks": [{"name": "sbom", "passed": "yes"}]}),
        ("checks", {"checks": [{"name": "sbom", "passed": True}], "sbom": "text"}),
        ("approve", {"trust": True}),
        ("approve", {}),
        ("reject", {"reason": " "}),
        ("revoke", {"why": "no"}),
    ],
)
async def test_a_decision_that_cannot_be_read_is_refused(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    secret = (await api.another(role=Role.ADMIN))[2]
    async with api.client() as http, api.client(secret) as admin:
        made = (await http.post("/cargos", json=a_signed_body())).json()["data"]
        refused = await admin.post(f"/admin/cargos/{made['id']}/{path}", json=body)
        unknown = await admin.post(f"/admin/cargos/0/{path}", json={"reason": "no", "trust": 1})

    assert refused.status_code == 422
    assert unknown.status_code in (404, 422)


SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 5},
        "level": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"enum": ["fast", "good"]},
        "source": {"type": "string", "format": "file"},
        "parts": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["text"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "input.text"),
        ({"text": 5}, "input.text"),
        ({"text": "too long"}, "input.text"),
        ({"text": "a", "level": 10}, "input.level"),
        ({"text": "a", "level": 1.5}, "input.level"),
        ({"text": "a", "kind": "slow"}, "input.kind"),
        ({"text": "a", "source": "/etc/passwd"}, "input.source"),
        ({"text": "a", "parts": ["b", 5]}, "input.parts.1"),
        ({"text": "a", "colour": "red"}, "input.colour"),
        ({"text": "a", "parts": ["b"] * 10_000}, "input"),
        ({"text": "a", "level": 3, "kind": "good"}, None),
    ],
)
async def test_an_input_is_held_to_the_manifests_schema_before_anything_is_reserved(
    api: Api, given: dict[str, Any], field: str | None
) -> None:
    cargo = await a_stored_cargo(
        api.scene.store, slug="hash", kind="json", model=None, input=SCHEMA
    )
    api.scene.world.catalogue.load([api.scene.cargo, cargo])
    before = await api.scene.balance()
    async with api.client() as http:
        answer = await http.post("/jobs", json={"workload": "hash", "input": given})

    if field is None:
        assert answer.status_code == 201
    else:
        assert answer.status_code == 422
        assert field in answer.json()["errors"]
        assert await api.scene.balance() == before
