"""What a customer sees when things go wrong: clear errors, nothing lost, nothing charged that was not delivered."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import httpx
import pytest

from .conftest import CHAT_MODEL, Network, wait_for


def account(network: Network, key: str) -> dict[str, Any]:
    with network.http(key) as http:
        data: dict[str, Any] = http.get("/account").json()["data"]
    return data


def test_200_requests_at_once_with_credits_for_20_run_exactly_20(network: Network) -> None:
    with network.http() as http:
        probe = http.post(
            "/jobs", json={"workload": "echo", "input": {"text": "x" * 40, "items": 4}}
        )
        reserved = Decimal(str(probe.json()["data"]["reserved"]))
    key = network.user("twenty@example.org", str(20 * reserved + reserved / 2))

    async def ask(http: httpx.AsyncClient) -> int:
        body = {"workload": "echo", "input": {"text": "x" * 40, "items": 4, "delay_ms": 1500}}
        return (await http.post("/jobs", json=body)).status_code

    async def all_at_once() -> list[int]:
        base = network.http(key).base_url
        limits = httpx.Limits(max_connections=200)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=base, headers=headers, limits=limits, timeout=60
        ) as http:
            return await asyncio.gather(*(ask(http) for _ in range(200)))

    statuses = asyncio.run(all_at_once())

    assert statuses.count(201) == 20
    assert statuses.count(402) == 180
    wait_for(lambda: _finished(network, key) == 20, "the twenty jobs end", 90)
    assert Decimal(str(account(network, key)["credits"])) >= 0


def _finished(network: Network, key: str) -> int:
    with network.http(key) as http:
        jobs = http.get("/jobs", params={"limit": 100}).json()["data"]
    return sum(job["status"] == "completed" for job in jobs)


@pytest.mark.real_model
def test_the_cargos_process_killed_mid_answer_is_a_clear_error_and_costs_nothing(
    network: Network,
) -> None:
    key = network.user("killed@example.org", "100")
    before = account(network, key)["credits"]
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
        "max_tokens": 800,
        "stream": True,
    }
    events = []
    with network.http(key) as http, http.stream("POST", "/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                events.append(line[5:].strip())
            if len(events) == 6:
                for process in network.processes("archipelag_llm_chat"):
                    process.kill()

    assert answer.status_code == 200
    assert events[-1] == "[DONE]"
    error = json.loads(events[-2])["error"]
    assert error["code"] and "Cargo" in error["message"]
    assert account(network, key)["credits"] == before
    wait_for(lambda: _answers(network), "the Island has started the Cargo again", 60)


def _answers(network: Network) -> bool:
    body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    with network.http() as http:
        return http.post("/chat/completions", json=body).status_code == 200


@pytest.mark.real_model
def test_a_reader_who_leaves_stops_the_work_and_pays_what_was_delivered(network: Network) -> None:
    key = network.user("leaver@example.org", "100")
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Count slowly from one to a thousand."}],
        "max_tokens": 1500,
        "stream": True,
    }
    with network.http(key) as http:
        with http.stream("POST", "/chat/completions", json=body) as answer:
            job_id = answer.headers["x-archipelag-job"]
            for read, line in enumerate(answer.iter_lines()):
                if read > 20 and line.startswith("data:"):
                    break

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = http.get(f"/jobs/{job_id}").json()["data"]
            return job if job["status"] == "cancelled" else None

        job = wait_for(ended, "the job is cancelled", 20)

    usage = job["usage"]
    assert 0 < usage["completion_tokens"] < 1500
    owed = 20 * usage["prompt_tokens"] + 100 * usage["completion_tokens"]
    assert Decimal(str(usage["credits_used"])) == Decimal(owed) / 1_000_000
    left = Decimal(str(account(network, key)["credits"]))
    assert left == 100 - Decimal(owed) / 1_000_000


def test_when_nobody_can_take_it_there_is_a_503_with_the_reasons(network: Network) -> None:
    with network.http() as http:
        (host,) = http.get("/hosts").json()["data"]
        http.post(f"/admin/islands/{host['id']}/suspend").raise_for_status()
        try:
            refused = http.post(
                "/chat/completions",
                json={"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]},
            )
        finally:
            http.post(f"/admin/islands/{host['id']}/restore").raise_for_status()

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "no_capacity"
    wait_for(lambda: _answers(network), "the Island is back after it was restored", 60)
