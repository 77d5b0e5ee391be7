"""What an operator sees of a real network."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .conftest import Network, wait_for

ECHO = {"workload": "echo", "input": {"text": "word", "items": 5}}


def test_every_part_of_a_sound_network_is_well(network: Network) -> None:
    def sound() -> dict[str, Any] | None:
        with network.http() as http:
            health: dict[str, Any] = http.get("/admin/health").json()["data"]
        # A Coordinator that another test killed is remembered, and no part is the worse for it.
        return health if health["status"] == "ok" else None

    health = wait_for(sound, "every part is well")

    names = [part["name"] for part in health["parts"]]
    expected = ["database", "broker", "stream", "leader", "chores", "coordinators", "islands"]
    assert sorted(names) == sorted(expected)
    assert [one["alive"] for one in health["coordinators"] if one["this"]] == [True]


def test_the_books_balance_and_a_job_is_found_in_every_sum(network: Network) -> None:
    key = network.user("sums@example.org", "5")
    with network.http(key) as http, network.http() as admin:
        job = http.post("/jobs", json=ECHO).json()["data"]["id"]
        done = wait_for(
            lambda: http.get("/jobs", params={"status": "completed"}).json()["data"], "it is done"
        )
        (spent,) = http.get("/usage", params={"by": "workload"}).json()["data"]
        moves = http.get("/account/transfers").json()["data"]
        why = http.get(f"/jobs/{job}/why").json()["data"]
        island = why["attempts"][-1]["island_id"]
        earned = admin.get(f"/hosts/{island}/earnings", params={"by": "workload"}).json()["data"]
        reasons = admin.get(f"/hosts/{island}/why").json()["data"]
        books = admin.get("/admin/ledger-check").json()["data"]
        queues = admin.get("/admin/queues").json()["data"]

    used = done[0]["usage"]["credits_used"]
    assert (spent["workload"], spent["jobs"], spent["credits"]) == ("echo", 1, used)
    charge = next(move for move in moves if move["kind"] == "charge")
    assert Decimal(charge["amount"]) == -Decimal(used)
    assert Decimal(charge["balance_after"]) == 5 - Decimal(used)
    assert why["attempts"][-1]["fit"] >= 1 and len(why["attempts"][-1]["preferences"]) == 5
    assert Decimal(next(one for one in earned if one["workload"] == "echo")["credits"]) > 0
    assert "echo" in [one["slug"] for one in reasons["cargos"]]
    assert books["balanced"] is True
    assert all(chore["status"] != "failed" for chore in queues["chores"])
