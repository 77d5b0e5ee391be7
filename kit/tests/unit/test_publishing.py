"""What is handed in to a network, and how its answers are told: against an API that only answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from archipelag_kit.commands import main, reviewing, submitting
from archipelag_kit.commands.api import Api
from archipelag_kit.commands.errors import CommandError, NotAllowed, NotReachable
from archipelag_kit.conformance.submission import Verdict
from archipelag_oci.errors import RegistryUnreachable

Out = pytest.CaptureFixture[str]
ONE = {"id": 7, "slug": "shout", "version": "1.0.0", "status": "submitted", "checks": []}


def api(answer: Callable[[httpx.Request], httpx.Response]) -> Api:
    return Api("http://network/api/v1", "ak_1", httpx.MockTransport(answer))


def answers(status: int, value: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, json=value)


def test_the_address_may_be_given_with_or_without_its_path() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers["authorization"]))
        return httpx.Response(200, json={"data": ONE})

    with api(answer) as with_path, Api("http://network/", "k", httpx.MockTransport(answer)) as bare:
        with_path.one("7")
        bare.one("7")

    assert seen == [
        ("http://network/api/v1/cargos/7", "Bearer ak_1"),
        ("http://network/api/v1/cargos/7", "Bearer k"),
    ]


@pytest.mark.parametrize(
    ("status", "value", "kind", "said"),
    [
        (
            422,
            {"error": {"message": "no"}, "errors": {"manifest": ["x"]}},
            CommandError,
            "manifest: x",
        ),
        (409, {"error": {"message": "slug taken"}}, CommandError, "slug taken"),
        (401, {"error": {"message": "no such key"}}, NotAllowed, "ARCHIPELAG_API_KEY"),
        (403, {"error": {"message": "needs write"}}, NotAllowed, "needs write"),
        (500, "<html>", CommandError, "answered 500"),
        (200, {"data": []}, CommandError, "not answer as an Archipelag"),
        (200, None, CommandError, "not answer as an Archipelag"),
    ],
)
def test_refusals_become_sentences(
    status: int, value: Any, kind: type[CommandError], said: str
) -> None:
    with api(answers(status, value)) as network, pytest.raises(kind) as caught:
        network.one("7")

    assert said in str(caught.value)


def test_no_network_and_no_key_have_their_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.delenv("ARCHIPELAG_API_KEY", raising=False)

    assert main(["--url", "http://127.0.0.1:9", "--key", "k", "list"]) == 3
    assert main(["--url", "http://127.0.0.1:9", "list"]) == 4
    assert "ARCHIPELAG_API_KEY" in capsys.readouterr().err


def using(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    for module in (submitting, reviewing):
        monkeypatch.setattr(module, "Api", lambda url, key: api(answer))


def test_status_waits_until_it_is_decided(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    states = iter(["submitted", "verified", "listed"])
    using(
        monkeypatch,
        lambda _: httpx.Response(200, json={"data": {**ONE, "status": next(states), "trust": 1}}),
    )
    monkeypatch.setattr(submitting, "LOOK_S", 0.0)

    assert main(["status", "7", "--wait"]) == 0

    told = capsys.readouterr().out
    assert "listed" in told and "trust" in told


def test_a_cargo_that_was_turned_away_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    checks = [{"name": "conformance", "passed": False, "said": "it starts: no such file"}]
    using(monkeypatch, answers(200, {"data": {**ONE, "checks": checks}}))

    assert main(["status", "7"]) == 5
    assert "✗ conformance" in capsys.readouterr().out


class Reviewed:
    """An API with one Cargo that waits, which keeps what is reported."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posted.append((request.url.path, json.loads(request.content)))
            return httpx.Response(200, json={"data": ONE})
        assert request.url.params["status"] == "submitted"
        return httpx.Response(200, json={"data": [ONE]})


def test_what_the_reviewer_found_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    network = Reviewed()
    using(monkeypatch, network)
    verdicts = [Verdict("signature", True, "good"), Verdict("image", False, "x" * 900)]
    monkeypatch.setattr(reviewing, "_look", lambda one, arguments: (verdicts, {"spdx": 1}))

    assert main(["review", "--once"]) == 0

    [(path, body)] = network.posted
    assert path == "/api/v1/admin/cargos/7/checks" and body["sbom"] == {"spdx": 1}
    assert [c["passed"] for c in body["checks"]] == [True, False]
    assert len(body["checks"][1]["said"]) == 500
    assert "✗ image" in capsys.readouterr().out


def test_a_registry_that_does_not_answer_is_not_held_against_a_cargo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Reviewed()
    using(monkeypatch, network)

    def look(one: Any, arguments: Any) -> Any:
        raise RegistryUnreachable("no connection")

    monkeypatch.setattr(reviewing, "_look", look)

    assert main(["review", "--once"]) == 3
    assert network.posted == []


def test_a_submission_that_cannot_be_read_fails_its_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Reviewed()
    using(monkeypatch, network)

    assert main(["review", "--once"]) == 0

    [(_, body)] = network.posted
    assert body["checks"][0]["name"] == "signature" and not body["checks"][0]["passed"]


def test_not_reachable_is_a_command_error() -> None:
    assert NotReachable("x").status == 3
