"""A batch on a real network comes to its end, each job once and paid once, whoever dies on the way."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Network, address, environment, second_coordinator, wait_for

COUNT = 20
ITEMS = 6
BATCH = {
    "workload": "echo",
    "inputs": [{"text": f"job{n}", "items": ITEMS, "delay_ms": 100} for n in range(COUNT)],
    "max_parallelism": 4,
}
WHOLE = "\n".join(f"job{n} " * ITEMS for n in range(COUNT))
END_S = 150.0


def status(http: httpx.Client, batch: str) -> dict[str, Any]:
    shown: dict[str, Any] = http.get(f"/jobs/{batch}/batch-status").json()["data"]
    return shown


def credit(http: httpx.Client) -> Decimal:
    return Decimal(str(http.get("/account").json()["data"]["credits"]))


def ended(network: Network, key: str, batch: str) -> dict[str, Any] | None:
    with contextlib.suppress(httpx.HTTPError), network.http(key) as http:
        shown = status(http, batch)
        return shown if shown["completed_at"] else None
    return None


def check_whole(network: Network, key: str, batch: str, before: Decimal) -> None:
    """All came out, in order, and nothing was asked for or paid twice."""
    done: dict[str, Any] = wait_for(
        lambda: ended(network, key, batch), "the batch has ended", END_S
    )
    with network.http(key) as http:
        jobs = http.get("/jobs", params={"limit": 100}).json()
        after, held = credit(http), http.get("/account").json()["data"]["held"]
    assert (done["status"], done["counts"]["completed"]) == ("completed", COUNT), done
    assert done["output"] == WHOLE
    assert jobs["meta"]["total"] == COUNT
    assert {job["id"] for job in jobs["data"]} == set(done["jobs"])
    assert before - after == Decimal(done["usage"]["credits_used"]) > 0
    assert held == "0"


def begun(http: httpx.Client, batch: str) -> bool:
    counts = status(http, batch)["counts"]
    return counts["completed"] >= 3 and counts["running"] > 0


@pytest.fixture
def doomed_island(network: Network, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another Island that offers the same, and that nobody starts again."""
    with network.http() as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    env = environment(network.home) | {
        "ARCHIPELAG_ISLAND_HOME": str(tmp_path / "doomed"),
        "ARCHIPELAG_ISLAND_NAME": "doomed-island",
        "ARCHIPELAG_COORDINATOR": address(network),
        "ARCHIPELAG_PAIRING_CODE": code,
    }
    with (network.home / "doomed.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "archipelag_island", "run"], env=env, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: "doomed-island" in has_echo(network), "it has the Cargo warm", 60)
        yield process
    finally:
        process.terminate()
        process.wait(30)
        with network.http() as http:
            for host in http.get("/hosts").json()["data"]:
                if host["name"] == "doomed-island":
                    http.post(f"/admin/islands/{host['id']}/suspend")


def has_echo(network: Network) -> list[str]:
    with network.http() as http:
        hosts = http.get("/hosts").json()["data"]
    return [
        host["name"]
        for host in hosts
        if any(one["slug"] == "echo" and one["state"] == "warm" for one in host["cargos"])
    ]


def runs_on(network: Network, key: str, name: str) -> bool:
    with network.http(key) as http:
        running = http.get("/jobs", params={"status": "running"}).json()["data"]
        whole = [http.get(f"/jobs/{job['id']}").json()["data"] for job in running]
    return any(job["attempts"] and job["attempts"][-1]["island"] == name for job in whole)


def test_a_batch_survives_the_death_of_an_island(
    network: Network, doomed_island: subprocess.Popen[bytes]
) -> None:
    key = network.user("batch-island@example.org", "100")
    with network.http(key) as http:
        before = credit(http)
        batch = http.post("/jobs/batch", json=BATCH).json()["data"]["id"]
        wait_for(lambda: runs_on(network, key, "doomed-island"), "it works on the batch")

        doomed_island.kill()

    check_whole(network, key, batch, before)


def test_a_batch_survives_the_death_of_its_coordinator(network: Network) -> None:
    key = network.user("batch-coordinator@example.org", "100")
    with network.http(key) as http:
        before = credit(http)
    with second_coordinator(network) as doomed:
        with doomed.http(key) as there:
            wait_for(lambda: there.get("/hosts").json()["data"], "it has heard of the Island")
            batch = there.post("/jobs/batch", json=BATCH).json()["data"]["id"]
            wait_for(lambda: begun(there, batch), "the batch has begun")
        doomed.process.kill()
        doomed.process.wait()

    check_whole(network, key, batch, before)


def test_the_only_coordinator_dies_and_comes_back_to_its_batch(network: Network) -> None:
    key = network.user("batch-alone@example.org", "100")
    with network.http(key) as http:
        before = credit(http)
        batch = http.post("/jobs/batch", json=BATCH).json()["data"]["id"]
        wait_for(lambda: begun(http, batch), "the batch has begun")

        (serving,) = [
            one for one in network.processes("archipelag_coordinator") if "serve" in one.cmdline()
        ]
        serving.kill()

    check_whole(network, key, batch, before)


def test_a_batch_is_cancelled_while_it_runs(network: Network) -> None:
    key = network.user("batch-cancel@example.org", "100")
    with network.http(key) as http:
        before = credit(http)
        batch = http.post("/jobs/batch", json=BATCH).json()["data"]["id"]
        wait_for(lambda: begun(http, batch), "the batch has begun")
        http.delete(f"/jobs/{batch}").raise_for_status()

        done = wait_for(lambda: ended(network, key, batch), "the batch has ended")

        assert done["status"] == "cancelled" and done["counts"]["cancelled"] > 0
        assert sum(done["counts"].values()) == COUNT
        assert before - credit(http) == Decimal(done["usage"]["credits_used"])
        assert http.get("/account").json()["data"]["held"] == "0"
