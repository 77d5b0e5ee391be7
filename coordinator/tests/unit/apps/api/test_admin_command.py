"""`archipelag-coordinator admin` against the real API: what it shows, does, and says where it may not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from archipelag_coordinator.__main__ import main
from archipelag_coordinator.domain.user import Role
from archipelag_embedded.serving import served

from .conftest import Api, a_submitted_cargo

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def run(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Run]:
    """Runs a command as the administrator, in a thread beside the API's loop."""
    _, _, secret = await api.another(role=Role.ADMIN)
    async with served(api.app) as url:
        monkeypatch.setenv("ARCHIPELAG_API_URL", f"{url}/api/v1")
        monkeypatch.setenv("ARCHIPELAG_API_KEY", secret)

        async def ask(*words: str) -> tuple[int, str, str]:
            status = await asyncio.to_thread(main, ["admin", *words])
            out, error = capsys.readouterr()
            return status, out, error

        yield ask


async def test_islands_are_listed_cut_off_and_let_back(api: Api, run: Run) -> None:
    (island,) = api.scene.world.fleet.islands()
    hostile = await api.scene.island(name="a\x1b[31mb")

    _, table, _ = await run("islands")
    _, plain, _ = await run("islands", "--json")
    cut, said, _ = await run("suspend", island.id)
    back, restored, _ = await run("restore", island.id)
    approved, told, _ = await run("approve", hostile.id)

    assert island.id in table and "reef" in table and "a?[31mb" in table
    assert "\x1b" not in table + told
    assert {one["id"] for one in json.loads(plain)} == {island.id, hostile.id}
    assert (cut, back, approved) == (0, 0, 0)
    assert "suspended" in said and "suspended" not in restored and "approved" in told


async def test_a_grant_with_the_same_cause_gives_nothing_twice(api: Api, run: Run) -> None:
    user = api.scene.user
    before = await api.scene.balance()

    first, said, _ = await run("grant", user.id, "2.5", "--cause", "prize")
    again, told, _ = await run("grant", user.id, "2.5", "--cause", "prize")
    once, _, _ = await run("grant", user.id, "1")
    twice, _, _ = await run("grant", user.id, "1")

    assert (first, again, once, twice) == (0, 0, 0, 0)
    assert "credits now" in said and "nothing" in told
    assert await api.scene.balance() - before == 4_500_000


async def test_cargos_that_wait_are_listed(api: Api, run: Run) -> None:
    await a_submitted_cargo(api)

    _, table, _ = await run("cargos")

    assert "mine" in table and "submitted" in table


async def test_what_the_network_refuses_is_said_and_nothing_else(
    api: Api, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = await run("suspend", "isl_" + "0" * 26)
    shapeless = await run("suspend", "../../account")
    amount = await run("grant", api.scene.user.id, "many")
    monkeypatch.setenv("ARCHIPELAG_API_KEY", api.secret)
    customer = await run("islands")
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "")
    without = await run("islands")
    monkeypatch.setenv("ARCHIPELAG_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ARCHIPELAG_API_KEY", "x")
    gone = await run("islands")

    for status, out, error in (unknown, shapeless, amount, customer, without, gone):
        assert (status, out) == (1, "")
        assert error.startswith("archipelag-coordinator: ")
    assert "404" in unknown[2] and "is not an Island" in shapeless[2]
    assert "credits" in amount[2] and "403" in customer[2]
    assert "ARCHIPELAG_API_KEY" in without[2] and "no Coordinator answers" in gone[2]
