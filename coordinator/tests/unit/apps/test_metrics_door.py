"""Who may read the figures: whoever has the token; without one, programs on this machine and nobody through them."""

from __future__ import annotations

import httpx
import pytest
from archipelag_coordinator.apps.ops.metrics import MetricsDoor
from starlette.responses import PlainTextResponse

TOKEN = "sixteen-letters-and-more"


async def _page(accept: str) -> tuple[bytes, str]:
    return f"figures for {accept}".encode(), "text/plain"


async def ask(
    token: str,
    *,
    client: str = "127.0.0.1",
    host: str = "127.0.0.1",
    path: str = "/metrics",
    port: int = 80,
    shared_port: int = 0,
    **headers: str,
) -> httpx.Response:
    door = MetricsDoor(PlainTextResponse("the rest"), _page, token, shared_port=shared_port)
    transport = httpx.ASGITransport(door, client=(client, 40_000))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:{port}") as http:
        return await http.get(path, headers=named)


async def test_a_program_on_this_machine_is_answered() -> None:
    answer = await ask("", accept="openmetrics")

    assert answer.status_code == 200
    assert answer.text == "figures for openmetrics"
    assert answer.headers["cache-control"] == "no-store"


async def test_everything_else_goes_on() -> None:
    assert (await ask("", path="/metrics/")).text == "the rest"


@pytest.mark.parametrize(
    "asked",
    [
        {"client": "10.0.0.7"},
        {"client": "testclient"},
        {"host": "rebound.example.org"},
        {"x_forwarded_for": "10.0.0.7"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"x_real_ip": "127.0.0.1"},
    ],
    ids=str,
)
async def test_without_a_token_nobody_from_outside_is(asked: dict[str, str]) -> None:
    answer = await ask("", **asked)

    assert answer.status_code == 403
    assert "ARCHIPELAG_METRICS_TOKEN" in answer.json()["error"]["message"]
    assert "figures for" not in answer.text


@pytest.mark.parametrize(
    "sent", [None, "Bearer ", f"bearer {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer ä"]
)
async def test_with_a_token_only_who_shows_it_is(sent: str | None) -> None:
    headers = {} if sent is None else {"authorization": sent}
    door = MetricsDoor(PlainTextResponse("the rest"), _page, TOKEN)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(door), base_url="http://127.0.0.1"
    ) as http:
        answer = await http.get(
            "/metrics", headers={name: value.encode("latin-1") for name, value in headers.items()}
        )

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_token_opens_it_from_anywhere() -> None:
    answer = await ask(
        TOKEN, client="10.0.0.7", host="prometheus.example.org", authorization=f"Bearer {TOKEN}"
    )

    assert answer.status_code == 200


async def test_where_workers_share_a_port_each_tells_at_its_own_alone() -> None:
    shared = await ask(TOKEN, port=8420, shared_port=8420, authorization=f"Bearer {TOKEN}")
    own = await ask(TOKEN, port=8431, shared_port=8420, authorization=f"Bearer {TOKEN}")
    stranger = await ask(TOKEN, port=8420, shared_port=8420)

    assert (shared.status_code, own.status_code, stranger.status_code) == (421, 200, 401)
    assert "ARCHIPELAG_WORKER_PORT" in shared.json()["error"]["message"]
    assert "figures" not in shared.text
