"""Parts that are started one by one, a second Coordinator, and servers that go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest

from .conftest import Network, Second, second_coordinator, wait_for

ECHO = {"workload": "echo", "input": {"text": "word", "items": 5}}


@pytest.fixture(scope="module")
def second(network: Network) -> Iterator[Second]:
    with second_coordinator(network) as one:
        wait_for(lambda: _warm(network, one), "it has heard of the warm Island")
        yield one


def _warm(network: Network, second: Second) -> bool:
    with second.http(network.api_key) as http:
        hosts = http.get("/hosts").json()["data"]
    return any(
        offer["slug"] == "echo" and offer["state"] == "warm"
        for host in hosts
        for offer in host["cargos"]
    )


def test_two_coordinators_serve_the_same_network_at_once(network: Network, second: Second) -> None:
    key = network.user("both@example.org", "100")
    bases = [network.api_url.removesuffix("/api/v1"), second.base] * 4

    async def one(http: httpx.AsyncClient, base: str) -> dict[str, Any]:
        made = await http.post(f"{base}/api/v1/jobs", json=ECHO)
        assert made.status_code == 201, made.text
        job = made.json()["data"]["id"]
        text = (await http.get(f"{base}/api/v1/jobs/{job}/stream")).text
        assert text.count('"type":"token"') >= 1 and '"done"' in text, text
        data: dict[str, Any] = (await http.get(f"{base}/api/v1/jobs/{job}")).json()["data"]
        return data

    async def all_at_once() -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as http:
            return await asyncio.gather(*(one(http, base) for base in bases))

    jobs = asyncio.run(all_at_once())

    assert [job["status"] for job in jobs] == ["completed"] * len(bases)
    assert {job["output"] for job in jobs} == {"word " * 5}
    spent = sum(Decimal(str(job["usage"]["credits_used"])) for job in jobs)
    assert 100 - _credits(network, key) == spent > 0


def test_one_coordinator_reads_cancels_and_refuses_what_stands_on_the_other(
    network: Network, second: Second
) -> None:
    key = network.user("across@example.org", "100")
    slow = {"workload": "echo", "input": {"text": "word", "items": 400, "delay_ms": 50}}
    with network.http(key) as here, second.http(key) as there:
        job = here.post("/jobs", json=slow).json()["data"]["id"]
        got: list[str] = []
        reader = threading.Thread(target=_read, args=(network, key, job, got))
        reader.start()
        wait_for(lambda: got, "the stream has begun")
        assert there.delete(f"/jobs/{job}").json()["data"]["status"] == "cancelled"
        reader.join(5)
        assert not reader.is_alive(), "a reader here hears of a job that was cancelled there"
        assert '"cancelled"' in got[-1]
        made = here.post("/api-keys", json={"name": "short", "scopes": ["read"]}).json()
        with second.http(made["key"]) as other:
            assert other.get("/account").status_code == 200
            here.delete(f"/api-keys/{made['data']['id']}").raise_for_status()
            assert other.get("/account").status_code == 401


def _read(network: Network, key: str, job: str, got: list[str]) -> None:
    with network.http(key) as http, http.stream("GET", f"/jobs/{job}/stream") as answer:
        got.extend(line for line in answer.iter_lines() if line.startswith("data:"))


def _credits(network: Network, key: str) -> Decimal:
    with network.http(key) as http:
        return Decimal(str(http.get("/account").json()["data"]["credits"]))


def test_a_coordinator_that_is_killed_leaves_no_job_hanging_and_no_credit_held(
    network: Network,
) -> None:
    key = network.user("orphans@example.org", "100")
    slow = {"workload": "echo", "input": {"text": "word", "items": 400, "delay_ms": 50}}
    with second_coordinator(network, ARCHIPELAG_POLICY_QUEUE_WAIT_BATCH_S="8") as doomed:
        wait_for(lambda: _warm(network, doomed), "it has heard of the warm Island")
        with doomed.http(key) as http:
            batch = http.post("/jobs", json=slow).json()["data"]["id"]
            short = http.post("/jobs", json=ECHO).json()["data"]["id"]
            chat = _stream_and_kill(doomed, key)

    with network.http(key) as http:

        def ended(job: str) -> str | None:
            status: str = http.get(f"/jobs/{job}").json()["data"]["status"]
            return None if status in ("queued", "running") else status

        assert wait_for(lambda: ended(short), "the short one has ended", 40) == "completed"
        assert wait_for(lambda: ended(chat), "the chat has ended", 40) in ("cancelled", "failed")
        assert wait_for(lambda: ended(batch), "the long one has ended", 60) == "completed"
        assert http.get(f"/jobs/{chat}").json()["data"]["usage"]["credits_used"] in (0, "0"), (
            "what ended through us costs nothing"
        )
    assert _held(network) == 0


def _stream_and_kill(doomed: Second, key: str) -> str:
    """A chat that is read from a Coordinator while that is killed; returns the job."""
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Count slowly from one to a thousand."}],
        "max_tokens": 1900,
        "stream": True,
    }
    job = ""
    with (
        doomed.http(key) as http,
        contextlib.suppress(httpx.HTTPError),
        http.stream("POST", "/chat/completions", json=body) as answer,
    ):
        job = answer.headers["x-archipelag-job"]
        for count, _ in enumerate(answer.iter_lines()):
            if count == 8:
                doomed.process.kill()
    assert doomed.process.wait(5) == -signal.SIGKILL
    return str(job)


def _held(network: Network) -> int:
    with psycopg.connect(network.database_url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(held), 0) FROM accounts a JOIN users u ON a.id = 'user:' || u.id"
            " WHERE u.email = 'orphans@example.org'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_broker_that_is_killed_comes_back_and_the_next_request_works(network: Network) -> None:
    key = network.user("broker@example.org", "100")
    with network.http(key) as http:
        for process in network.processes("nats-server"):
            process.kill()
        began = time.monotonic()
        first = http.post("/jobs", json=ECHO)
        assert first.status_code in (201, 503), first.text
        wait_for(lambda: _echoes(http), "a job is done again", 40)
    assert time.monotonic() - began < 40


def test_while_the_database_is_away_there_is_a_503_and_then_it_works(network: Network) -> None:
    key = network.user("database@example.org", "100")
    postmaster = next(p for p in network.processes("postgres") if "-D" in p.cmdline())
    with network.http(key) as http:
        assert _echoes(http)
        postmaster.kill()
        seen = set()

        def back() -> bool:
            status = http.get("/account").status_code
            seen.add(status)
            return status == 200

        wait_for(back, "the database is back", 40)
        assert seen <= {200, 503}, seen
        wait_for(lambda: _echoes(http), "a job is done again", 40)
    assert all(p.is_running() for p in network.processes("archipelag_coordinator"))


def _echoes(http: httpx.Client) -> bool:
    made = http.post("/jobs", json=ECHO)
    if made.status_code != 201:
        assert made.status_code == 503, made.text
        return False
    job = made.json()["data"]["id"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        read = http.get(f"/jobs/{job}")
        if read.status_code == 200 and read.json()["data"]["status"] == "completed":
            return True
        time.sleep(0.1)
    return False
