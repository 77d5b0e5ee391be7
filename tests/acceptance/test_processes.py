"""Parts that are started one by one, a second Coordinator, and servers that go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import (
    CHAT_MODEL,
    Network,
    Second,
    address,
    assignment_key,
    environment,
    ready,
    second_coordinator,
    wait_for,
)
from .raw_island import RawIsland, until

ECHO = {"workload": "echo", "input": {"text": "word", "items": 5}}


@pytest.fixture(scope="module")
def second(network: Network) -> Iterator[Second]:
    with second_coordinator(network) as one:
        wait_for(lambda: _warm(network, one), "it has heard of the warm Island")
        yield one


def _warm(network: Network, second: Second, slug: str = "echo") -> bool:
    with second.http(network.api_key) as http:
        hosts = http.get("/hosts").json()["data"]
    return any(
        offer["slug"] == slug and offer["state"] == "warm"
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
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as http:
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


async def test_a_coordinator_that_is_killed_leaves_no_job_hanging_and_no_credit_held(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = network.user("orphans@example.org", "100")
    slow = {"workload": "echo", "input": {"text": "word", "items": 300, "delay_ms": 50}}
    ask = {"model": "trap-model", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "orphan"}
    with second_coordinator(network) as doomed:
        await until(lambda: _warm(network, doomed, "trap"), "it has heard of both Islands")
        async with httpx.AsyncClient(base_url=f"{doomed.base}/api/v1", headers=headers) as http:
            made = await http.post("/jobs", json=slow, headers={"Idempotency-Key": "slow"})
            batch = made.json()["data"]["id"]
            reading = asyncio.create_task(_read_until_cut(http, ask))
            assignment = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
            await hostile.say(assignment, pb.Chunk(texts=["one ", "two "], prompt_tokens=3))
            await until(lambda: _delivered(network, assignment.job_id) == 2, "the mark is kept")
            doomed.process.kill()
            await reading

    with network.http(key) as http:
        chat = await until(lambda: _ended(http, assignment.job_id), "the chat has ended", 25)
        assert (chat["status"], chat["usage"]["credits_used"]) == ("failed", "0"), (
            "what ended through us costs nothing"
        )
        done = await until(lambda: _ended(http, batch), "the batch job goes on to its end", 40)
        assert done["status"] == "completed"
        spent = Decimal(str(done["usage"]["credits_used"]))
    assert _credits(network, key) == 100 - spent
    assert _held(network) == 0


async def _read_until_cut(http: httpx.AsyncClient, ask: dict[str, Any]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        async with http.stream("POST", "/chat/completions", json=ask, timeout=60) as answer:
            async for line in answer.aiter_lines():
                assert "[DONE]" not in line


def _ended(http: httpx.Client, job: str) -> dict[str, Any] | None:
    data: dict[str, Any] = http.get(f"/jobs/{job}").json()["data"]
    return None if data["status"] in ("queued", "running") else data


def _delivered(network: Network, job: str) -> int:
    with psycopg.connect(network.database_url) as connection:
        row = connection.execute("SELECT delivered FROM jobs WHERE id = %s", [job]).fetchone()
    return row[0] if row else 0


def _held(network: Network) -> int:
    with psycopg.connect(network.database_url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(held), 0) FROM accounts a JOIN users u ON a.id = 'user:' || u.id"
            " WHERE u.email = 'orphans@example.org'"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.real_model
def test_the_same_idempotency_key_on_both_coordinators_is_one_answer_and_one_charge(
    network: Network, second: Second
) -> None:
    key = network.user("same-on-both@example.org", "10")
    bases = [network.api_url.removesuffix("/api/v1"), second.base]
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Name three colours."}],
        "max_tokens": 24,
        "temperature": 0.9,
    }

    async def both() -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "on-both"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as http:
            asked = (
                http.post(f"{base}/v1/chat/completions", json=body | {"stream": stream})
                for base in bases
                for stream in (False, True)
            )
            return list(await asyncio.gather(*asked))

    answers = asyncio.run(both())

    assert [answer.status_code for answer in answers] == [200] * 4, [
        answer.text[:300] for answer in answers
    ]
    assert len({answer.headers["x-archipelag-job"] for answer in answers}) == 1
    whole = [a.json() for a in answers if a.headers["content-type"] == "application/json"]
    assert len(whole) == 2 and whole[0]["choices"] == whole[1]["choices"]
    for answer in answers:
        if answer.headers["content-type"].startswith("text/event-stream"):
            said = [
                json.loads(line[line.index("{") :])
                for line in answer.text.split("\n\n")
                if "{" in line
            ]
            text = "".join(
                c["delta"].get("content") or "" for event in said for c in event["choices"]
            )
            assert text == whole[0]["choices"][0]["message"]["content"]
    assert 10 - _credits(network, key) == Decimal(whole[0]["usage"]["credits_used"])


def test_an_island_joins_by_settings_alone_and_leaves_when_told(
    network: Network, tmp_path: Path
) -> None:
    key = network.user("another-host@example.org", "0")
    with network.http(key) as http:
        code = http.post("/pairing-codes").json()["data"]["code"]
    env = environment(network.home) | {
        "ARCHIPELAG_ISLAND_HOME": str(tmp_path / "island"),
        "ARCHIPELAG_ISLAND_NAME": "by-settings",
        "ARCHIPELAG_ISLAND_CARGOS": "echo",
        "ARCHIPELAG_COORDINATOR": address(network),
        "ARCHIPELAG_PAIRING_CODE": code,
    }
    tmp_path.parent.chmod(0o755)  # Cargos run without privileges and must reach their sockets.
    tmp_path.chmod(0o755)
    program = [sys.executable, "-m", "archipelag_island", "run"]
    with (network.home / "logs" / "by-settings.log").open("ab") as out:
        agent = subprocess.Popen(program, env=env, stdout=out, stderr=out, cwd=tmp_path)
    try:
        wait_for(lambda: _state(network, "by-settings") == ("ready", ["echo"]), "it is warm")
    finally:
        agent.terminate()
        assert agent.wait(PATIENCE_S) == 0
    assert code not in (network.home / "logs" / "by-settings.log").read_text()
    assert not psutil.pid_exists(agent.pid)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(p.info)]


def _state(network: Network, name: str) -> tuple[str, list[str]] | None:
    with network.http() as http:
        for host in http.get("/hosts").json()["data"]:
            if host["name"] == name:
                warm = [o["slug"] for o in host["cargos"] if o["state"] == "warm"]
                return host["status"], warm
    return None


def test_a_broker_that_is_killed_comes_back_and_the_next_request_works(network: Network) -> None:
    key = network.user("broker@example.org", "100")
    with network.http(key) as http:
        for process in network.processes("nats-server"):
            process.kill()
        first = http.post("/jobs", json=ECHO)
        assert first.status_code in (201, 503), first.text
        wait_for(lambda: _echoes(http), "a job is done again")


def test_while_the_database_is_away_there_is_a_503_and_then_it_works(
    network: Network, second: Second
) -> None:
    key = network.user("database@example.org", "100")
    assert set(_at_once(second, key)) == {200}, "and so it has many connections"
    postmaster = next(p for p in network.processes("postgres") if "-D" in p.cmdline())
    with network.http(key) as http:
        assert _echoes(http)
        postmaster.kill()
        seen = set()

        def back() -> bool:
            status = http.get("/account").status_code
            seen.add(status)
            return status == 200

        wait_for(back, "the database is back")
        assert seen <= {200, 503}, seen
        wait_for(lambda: _echoes(http), "a job is done again")
    assert all(p.is_running() for p in network.processes("archipelag_coordinator"))
    wait_for(lambda: ready(second.base), "the second is ready again", PATIENCE_S)
    assert set(_at_once(second, key)) == {200}, "no dead connection is left for a customer to find"


def _at_once(second: Second, key: str) -> list[int]:
    async def all_at_once() -> list[int]:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as http:
            asked = [http.get(f"{second.base}/api/v1/jobs") for _ in range(40)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    return asyncio.run(all_at_once())


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
