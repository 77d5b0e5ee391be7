"""What `client.cargos` sends and reads."""

from __future__ import annotations

import json

import httpx
from stub import Network


def a_cargo(**changes: object) -> dict[str, object]:
    return {
        "id": 7,
        "slug": "echo",
        "version": "1.0.0",
        "status": "submitted",
        "trust": 0,
        "digest": "sha256:00",
        "checks": [{"name": "signature", "passed": True, "said": None}],
        "reason": None,
    } | changes


def test_cargos_are_submitted_followed_and_decided_on() -> None:
    answers = [{"data": a_cargo()}] * 2 + [{"data": [a_cargo()]}] * 2
    answers += [{"data": a_cargo(status="listed", trust=2)}] * 2
    answers += [{"data": a_cargo(status=s, reason="no")} for s in ("rejected", "revoked")]
    answers += [{"data": a_cargo(status="withdrawn")}]
    network = Network(*(httpx.Response(200, json=answer) for answer in answers))
    one = network.client().cargos

    made = one.submit("host/echo@sha256:00", b"{}", b"payload", b"signed", "PEM")
    read = one.get(7)
    mine, every = one.list(), one.all(status="submitted")
    one.check(7, [{"name": "sbom", "passed": True}], {"bomFormat": "CycloneDX"})
    listed = one.approve(7, 2)
    ends = [one.reject(7, "no"), one.revoke(7, "no"), one.withdraw(7)]

    assert made == read == mine[0] == every[0]
    assert (made.id, made.status, made.checks[0].name) == (7, "submitted", "signature")
    assert (listed.status, listed.trust) == ("listed", 2)
    assert [one.status for one in ends] == ["rejected", "revoked", "withdrawn"]
    assert ends[0].reason == "no"
    assert json.loads(network.requests[0].content)["manifest"] == "e30="
    assert [(r.method, r.url.path.removeprefix("/api/v1")) for r in network.requests] == [
        ("POST", "/cargos"),
        ("GET", "/cargos/7"),
        ("GET", "/cargos"),
        ("GET", "/admin/cargos"),
        ("POST", "/admin/cargos/7/checks"),
        ("POST", "/admin/cargos/7/approve"),
        ("POST", "/admin/cargos/7/reject"),
        ("POST", "/admin/cargos/7/revoke"),
        ("DELETE", "/cargos/7"),
    ]
