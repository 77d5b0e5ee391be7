"""What every response has in common: one shape of errors, an id, safe headers, nothing of our insides."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from archipelag_coordinator import errors as tree
from archipelag_coordinator.apps.api.app import create_app
from archipelag_coordinator.apps.api.errors import ENDING_STATUS, STATUS, problem_of
from archipelag_coordinator.domain.attempt import Cause
from archipelag_coordinator.errors import CoordinatorError

from .conftest import Api

REFERENCE = Path(__file__).resolve().parents[5] / "docs" / "reference" / "api.md"


def every_error(kind: type[CoordinatorError] = CoordinatorError) -> set[str]:
    return {kind.code}.union(*(every_error(one) for one in kind.__subclasses__()))


def test_every_code_has_a_status_and_stands_in_the_reference() -> None:
    codes = {
        one.code
        for one in vars(tree).values()
        if isinstance(one, type) and issubclass(one, CoordinatorError)
    }
    reference = REFERENCE.read_text()

    assert codes <= set(STATUS)
    told = (set(STATUS) - {"error", "unbalanced_transfer"}) | {c.value for c in ENDING_STATUS}
    assert [code for code in sorted(told) if f"`{code}`" not in reference] == []


def test_every_unhappy_ending_has_a_status() -> None:
    assert set(ENDING_STATUS) == set(Cause) - {Cause.COMPLETED}


def test_every_route_stands_in_the_reference(api: Api) -> None:
    reference = REFERENCE.read_text()
    document: dict[str, Any] = api.app._app.openapi_schema  # type: ignore[attr-defined]
    missing = [
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/api/v1")
        and f"`{method.upper()} {path.removeprefix('/api/v1')}`" not in reference
    ]

    assert missing == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/jobs/", 404, "not_found"),
        ("GET", "/moderations", 404, "not_found"),
        ("PUT", "/jobs", 405, "method_not_allowed"),
        ("GET", "/chat/completions", 405, "method_not_allowed"),
    ],
)
async def test_a_route_that_is_none(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    async with api.client() as http:
        answer = await http.request(method, path)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["content-type"] == "application/json"
    if status == 405:
        assert answer.headers["allow"]


async def test_every_response_has_an_id_and_safe_headers(api: Api) -> None:
    async with api.client() as http:
        answers = [
            await http.get("/health"),
            await http.get("/nothing"),
            await http.get("/account"),
            await http.get("/docs"),
        ]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


@pytest.mark.parametrize(("sent", "kept"), [("trace-1.a", True), ("a b", False), ("x" * 65, False)])
async def test_a_clients_own_request_id_is_kept_when_it_is_one(
    api: Api, sent: str, kept: bool
) -> None:
    async with api.client() as http:
        answer = await http.get("/health", headers={"x-request-id": sent})

    assert (answer.headers["x-request-id"] == sent) is kept


async def test_our_own_mistake_is_500_without_insides(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret insides")

    monkeypatch.setattr(api.scene.store, "admit", broken)
    with caplog.at_level(logging.ERROR):
        async with api.client() as http:
            answer = await http.get("/account")

    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("internal_error", "server_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text


async def test_a_store_that_cannot_be_reached_is_503(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("10.0.0.7:5432")

    monkeypatch.setattr(api.scene.store, "admit", away)
    async with api.client() as http:
        answer = await http.get("/account")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert "5432" not in answer.text and answer.headers["retry-after"] == "1"


def test_a_broken_invariant_is_not_told_in_detail() -> None:
    problem = problem_of(tree.UnbalancedTransfer("charge:job_1: {…}"))

    assert (problem.status, problem.code) == (500, "internal_error")
    assert "charge" not in problem.message


async def test_health_asks_nothing_and_readiness_says_which_part_is_away(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(api.scene.world, broker_connected=lambda: False)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x/api/v1") as http:
        no_broker = await http.get("/ready")

        def away() -> None:
            raise ConnectionError

        monkeypatch.setattr(api.scene.store, "begin", away)
        neither = await http.get("/ready")
        alive = await http.get("/health")

    assert no_broker.status_code == neither.status_code == 503
    assert no_broker.json()["checks"] == {"database": "ok", "broker": "out of reach"}
    assert neither.json()["checks"] == {"database": "out of reach", "broker": "out of reach"}
    assert alive.json() == {"status": "ok", "version": "1.2.3"}


async def test_ready_when_everything_is_there(api: Api) -> None:
    async with api.client("") as http:
        answer = await http.get("/ready")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
