"""What a customer sees when things go wrong: clear errors, nothing lost, nothing charged that was not delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
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
    body = {"workload": "echo", "input": {"text": "x" * 40, "items": 4}}
    with network.http() as http:
        probe = http.post("/jobs", json=body).json()["data"]
    reserved = Decimal(str(probe["reserved"]))
    key = network.user("twenty@example.org", str(20 * reserved + reserved / 2), rate=10_000)

    # Nobody works meanwhile: a job that ended would give back what it did not use, and make room for a 21st.
    with suspended(network):
        statuses = asyncio.run(_ask_all_at_once(network, key, body, 200))
        waiting = Decimal(account(network, key)["available"])

    assert statuses.count(201) == 20
    assert statuses.count(402) == 180
    assert waiting == reserved / 2
    wait_for(lambda: _finished(network, key) == 20, "the twenty jobs end", 90)
    assert Decimal(str(account(network, key)["credits"])) >= waiting


@contextmanager
def suspended(network: Network) -> Iterator[None]:
    """The only Island may not work inside, and works again afterwards."""
    with network.http() as http:
        host = next(h for h in http.get("/hosts").json()["data"] if h["name"] == "test-island")
        http.post(f"/admin/islands/{host['id']}/suspend").raise_for_status()
        try:
            yield
        finally:
            http.post(f"/admin/islands/{host['id']}/restore").raise_for_status()
    wait_for(lambda: _answers(network), "the Island is back after it was restored", 60)


async def _ask_all_at_once(
    network: Network, key: str, body: dict[str, Any], count: int
) -> list[int]:
    async with httpx.AsyncClient(
        base_url=network.http(key).base_url,
        headers={"Authorization": f"Bearer {key}"},
        limits=httpx.Limits(max_connections=count),
        timeout=60,
    ) as http:

        async def ask() -> int:
            return (await http.post("/jobs", json=body)).status_code

        return await asyncio.gather(*(ask() for _ in range(count)))


def _finished(network: Network, key: str) -> int:
    with network.http(key) as http:
        jobs = http.get("/jobs", params={"limit": 100}).json()["data"]
    return sum(job["status"] == "completed" for job in jobs)


@pytest.mark.real_model
def test_a_cargo_killed_mid_answer_is_started_again_and_the_stream_goes_on(
    network: Network,
) -> None:
    key = network.user("killed@example.org", "100")
    body = {
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
        "max_tokens": 150,
        "temperature": 0.8,
        "seed": 7,
    }
    with network.http(key) as http:
        whole = http.post("/chat/completions", json=body).json()
        events: list[str] = []
        killed = False
        with http.stream("POST", "/chat/completions", json=body | {"stream": True}) as answer:
            job_id = answer.headers["x-archipelag-job"]
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    events.append(line[5:].strip())
                if len(events) == 6 and not killed:
                    killed = True
                    for process in network.processes("archipelag_llm_chat"):
                        process.kill()
        job = http.get(f"/jobs/{job_id}").json()["data"]

    assert answer.status_code == 200 and events[-1] == "[DONE]"
    assert job["output"] == whole["choices"][0]["message"]["content"]
    # It may be asked again before its Cargo is warm, and says so.
    first, second = [one for one in job["attempts"] if one["status"] != "refused"]
    assert (first["cause"], second["status"]) == ("cargo_died", "succeeded")
    assert second["first_position"] == first["next_position"] > 0
    assert job["usage"]["credits_used"] == whole["usage"]["credits_used"], "it is paid once"


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
        "temperature": 2,  # So hot that the model never comes to an end by itself.
        "seed": 7,
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

        job = wait_for(ended, "the job is cancelled")

    usage = job["usage"]
    assert 0 < usage["completion_tokens"] < 1500
    owed = 20 * usage["prompt_tokens"] + 100 * usage["completion_tokens"]
    assert Decimal(str(usage["credits_used"])) == Decimal(owed) / 1_000_000
    left = Decimal(str(account(network, key)["credits"]))
    assert left == 100 - Decimal(owed) / 1_000_000


def test_when_nobody_can_take_it_there_is_a_503_with_the_reasons(network: Network) -> None:
    body = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}]}

    with suspended(network), network.http() as http:
        refused = http.post("/chat/completions", json=body)

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["code"] == "no_capacity"
