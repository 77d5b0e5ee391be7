"""What a customer may ask, and what any answer costs: keys, limits, the same request twice, bad input, slow readers."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from archipelag_contracts.pb.archipelag.v1 import common_pb2 as common
from archipelag_contracts.pb.archipelag.v1 import job_pb2 as pb
from archipelag_embedded.fixtures import PATIENCE_S

from .conftest import CHAT_MODEL, Network, assignment_key, second_coordinator, wait_for
from .raw_island import RawIsland

ECHO = {"workload": "echo", "input": {"text": "word", "items": 3}}
HELLO = [{"role": "user", "content": "Hi"}]


def credits_of(http: httpx.Client) -> Decimal:
    return Decimal(str(http.get("/account").json()["data"]["credits"]))


def new_key(http: httpx.Client, **wanted: Any) -> tuple[str, str]:
    """Secret and id."""
    made = http.post("/api-keys", json={"name": "a key", "scopes": ["read", "write"]} | wanted)
    assert made.status_code == 201, made.text
    return made.json()["key"], made.json()["data"]["id"]


# --- Keys ------------------------------------------------------------------------------------------


def test_a_key_is_as_good_as_it_was_made(network: Network) -> None:
    with network.http(network.user("keys@example.org", "10")) as http:
        reading, _ = new_key(http, scopes=["read"])
        soon = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
        short, _ = new_key(http, expires_at=soon)
        revoked, revoked_id = new_key(http)
        reserved = Decimal(str(http.post("/jobs", json=ECHO).json()["data"]["reserved"]))
        poor, _ = new_key(http, budget=str(reserved))

        with network.http(reading) as other:
            assert other.get("/jobs").status_code == 200
            refused = other.post("/jobs", json=ECHO)
            assert (refused.status_code, _code(refused)) == (403, "not_permitted")
            assert other.post("/api-keys", json={"name": "x", "scopes": []}).status_code == 403
        with network.http(revoked) as other:
            assert other.get("/account").status_code == 200
            assert http.delete(f"/api-keys/{revoked_id}").status_code == 200
            refused = other.get("/account")
            assert (refused.status_code, _code(refused)) == (401, "invalid_api_key")
        with network.http(poor) as other:
            both = [other.post("/jobs", json=ECHO) for _ in range(2)]
            assert both[0].status_code == 201
            # The first may have been settled, and given back what it did not use; never more than the budget.
            assert both[1].status_code in (201, 402)
            left = [other.post("/jobs", json=ECHO | {"input": {"text": "x" * 500}})]
            assert (left[0].status_code, _code(left[0])) == (402, "budget_exceeded")
        with network.http(short) as other:
            wait_for(
                lambda: other.get("/account").status_code == 401, "the key has expired", PATIENCE_S
            )


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_the_rate_limit_holds_across_coordinators(network: Network) -> None:
    key = network.user("fast@example.org", "10", rate=20)

    async def all_at_once(bases: list[str]) -> list[httpx.Response]:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as http:
            asked = (http.get(f"{base}/api/v1/account") for base in bases * 20)
            return list(await asyncio.gather(*asked))

    with second_coordinator(network) as second:
        bases = [network.api_url.removesuffix("/api/v1"), second.base]
        answers = asyncio.run(all_at_once(bases))

    statuses = Counter(answer.status_code for answer in answers)
    # A bucket of 20 that drains 20 a minute: the second that this takes may let one more in. And each Coordinator lets
    # a tenth pass before it counts them where all count; of the next minute that much less is left.
    assert set(statuses) == {200, 429} and 20 <= statuses[200] <= 22 + 2 * 2, statuses
    late = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(late.headers["retry-after"]) <= 60
    assert _code(late) == "rate_limited"


def test_jobs_of_others_are_not_there(network: Network) -> None:
    with (
        network.http(network.user("mine@example.org", "10")) as mine,
        network.http(network.user("theirs@example.org", "10")) as theirs,
    ):
        job = mine.post("/jobs", json=ECHO).json()["data"]["id"]
        for name in (
            job,
            "job_00000000000000000000000000",
            "job_1",
            "..%2f..",
            "job_%00",
            "x" * 300,
        ):
            for path in (f"/jobs/{name}", f"/jobs/{name}/output", f"/jobs/{name}/stream"):
                answer = theirs.get(path)
                assert (answer.status_code, _code(answer)) == (404, "not_found"), path
            assert theirs.delete(f"/jobs/{name}").status_code == 404
        assert theirs.get("/jobs").json()["meta"]["total"] == 0
        ended = wait_for(lambda: _ended(mine, job), "it ends for its owner")
        again = mine.delete(f"/jobs/{job}").json()["data"]
    assert ended["status"] == again["status"] == "completed"


def _ended(http: httpx.Client, job: str) -> dict[str, Any] | None:
    data: dict[str, Any] = http.get(f"/jobs/{job}").json()["data"]
    return None if data["status"] in ("queued", "running") else data


# --- The same request twice ------------------------------------------------------------------------


async def test_the_same_key_at_the_same_moment_is_one_job_and_one_charge(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = await asyncio.to_thread(network.user, "twice@example.org", "10")
    body = {"model": "trap-model", "messages": HELLO, "stream": True, "temperature": 0.9}
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "same-moment"}
    async with httpx.AsyncClient(
        base_url=network.openai_url, headers=headers, timeout=PATIENCE_S
    ) as http:
        asked = [asyncio.create_task(_texts(http, body)) for _ in range(6)]
        assignment = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
        await hostile.say(assignment, pb.Chunk(texts=["one "], prompt_tokens=2))
        # While it streams, the same again, whole this time: it waits for the same answer.
        late = asyncio.create_task(http.post("/chat/completions", json=body | {"stream": False}))
        asked.append(asyncio.create_task(_texts(http, body)))
        other = await http.post("/chat/completions", json=body | {"temperature": 0.8})
        await hostile.say(assignment, pb.Chunk(first=1, texts=["two"]))
        end = pb.End(cause=common.CAUSE_COMPLETED, finish_reason="stop", next=2)
        await hostile.say(assignment, pb.Chunk(first=2, end=end))
        await hostile.report(hostile.report_on(assignment, ["one ", "two"], prompt_tokens=2))
        answers = await asyncio.gather(*asked)
        whole = await late

    assert other.status_code == 409
    assert {text for _, text in answers} == {"one two"}
    assert whole.json()["choices"][0]["message"]["content"] == "one two"
    assert {job for job, _ in answers} == {assignment.job_id} == {whole.headers["x-archipelag-job"]}
    assert hostile.assignments.empty()
    with network.http(key) as check:
        assert credits_of(check) == 10 - Decimal(2 * 20 + 2 * 100) / 1_000_000
        assert check.get("/jobs").json()["meta"]["total"] == 1


async def _texts(http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, str]:
    """Job and text of a stream that ends well."""
    async with http.stream("POST", "/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        text, last = "", ""
        async for line in answer.aiter_lines():
            if line.startswith("data:") and (last := line[5:].strip()) != "[DONE]":
                for choice in json.loads(last)["choices"]:
                    text += choice["delta"].get("content") or ""
        assert last == "[DONE]"
        return answer.headers["x-archipelag-job"], text


async def test_a_reader_that_comes_back_within_the_grace_misses_nothing(
    network: Network, hostile: RawIsland, trap: tuple[str, str]
) -> None:
    await hostile.offer(assignment_key(network), *trap)
    key = await asyncio.to_thread(network.user, "back@example.org", "10")
    headers = {"Authorization": f"Bearer {key}"}
    body = {"model": "trap-model", "messages": HELLO, "stream": True}
    base = network.openai_url.removesuffix("/v1")
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=PATIENCE_S) as http:
        reading = asyncio.create_task(_read_some(http, body))
        assignment = await asyncio.wait_for(hostile.assignments.get(), PATIENCE_S)
        await hostile.say(assignment, pb.Chunk(texts=["one ", "two "], prompt_tokens=2))
        await reading  # And gone.

        path = f"/api/v1/jobs/{assignment.job_id}/stream"
        async with http.stream("GET", path, headers={"Last-Event-ID": "1"}) as answer:
            lines = answer.aiter_lines()
            said = [await anext(lines) for _ in range(4)]
            # Longer than the grace of one second: it is the second reader that keeps the job alive.
            for first in range(2, 8):
                await hostile.say(assignment, pb.Chunk(first=first, texts=[f"{first} "]))
                await asyncio.sleep(0.3)
            await hostile.say(
                assignment, pb.Chunk(first=8, end=pb.End(cause=common.CAUSE_COMPLETED, next=8))
            )
            texts = ["one ", "two ", *(f"{n} " for n in range(2, 8))]
            await hostile.report(hostile.report_on(assignment, texts, prompt_tokens=2))
            said += [line async for line in lines]

    events = [json.loads(line[5:]) for line in said if line.startswith("data:")]
    assert "".join(e["content"] for e in events if e["type"] == "token") == "two 2 3 4 5 6 7 "
    assert events[-1]["type"] == "done"
    assert (assignment.job_id, assignment.epoch) not in hostile.cancelled


async def _read_some(http: httpx.AsyncClient, body: dict[str, Any]) -> None:
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if "two" in line or "one" in line:
                return


# --- Bad input -------------------------------------------------------------------------------------

CHAT: dict[str, Any] = {"model": CHAT_MODEL, "messages": HELLO}
BAD: dict[str, tuple[bytes | dict[str, Any], set[int]]] = {
    "129 messages": (CHAT | {"messages": HELLO * 129}, {422}),
    "no messages": (CHAT | {"messages": []}, {422}),
    "negative max_tokens": (CHAT | {"max_tokens": -1}, {422}),
    "max_tokens of true": (CHAT | {"max_tokens": True}, {422}),
    "huge max_tokens": (CHAT | {"max_tokens": 10**19}, {400, 422}),
    "NaN temperature": (
        b'{"model":"%b","messages":[{"role":"user","content":"Hi"}],"temperature":NaN}'
        % CHAT_MODEL.encode(),
        {400},
    ),
    "infinite temperature": (
        b'{"model":"%b","messages":[{"role":"user","content":"Hi"}],"temperature":1e999}'
        % CHAT_MODEL.encode(),
        {400},
    ),
    "unknown model": (CHAT | {"model": "gpt-17"}, {404}),
    "no model": ({"messages": HELLO}, {422}),
    "half a character": (b'{"model":"x","messages":[{"role":"user","content":"\\ud800"}]}', {422}),
    "not UTF-8": (b'{"model":"\xff\xfe"}', {400}),
    "broken": (b'{"model":', {400}),
    "empty": (b"", {400}),
    "a list": (b"[]", {400}),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {400}),
    "huge": (b'{"model":"' + b"x" * (8 << 20) + b'"}', {413}),
    "one field twice": (b'{"model":"a","model":"b"}', {400}),
}


@pytest.mark.real_model
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_quickly_and_changes_nothing(network: Network, name: str) -> None:
    body, expected = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with network.http() as http:
        jobs, before = http.get("/jobs", params={"limit": 1}).json()["meta"], credits_of(http)
        began = time.monotonic()
        answer = http.post(
            "/chat/completions", content=content, headers={"Content-Type": "application/json"}
        )
        took = time.monotonic() - began

        assert answer.status_code in expected, answer.text[:500]
        error = answer.json()["error"]
        assert error["code"] and error["message"] and error["type"]
        assert len(answer.content) < 4096, "what was sent is not sent back"
        assert took < 5
        assert http.get("/jobs", params={"limit": 1}).json()["meta"] == jobs
        assert credits_of(http) == before


def test_without_credits_nothing_runs(network: Network) -> None:
    with network.http(network.user("broke@example.org", "0")) as http:
        refused = http.post("/jobs", json=ECHO)
        assert (refused.status_code, _code(refused)) == (402, "insufficient_credits")
        assert {"required", "available"} <= refused.json()["error"].keys()
        assert http.get("/jobs").json()["meta"]["total"] == 0


# --- Slow readers ----------------------------------------------------------------------------------


def test_a_reader_of_a_byte_a_second_slows_only_itself(network: Network) -> None:
    key = network.user("slow@example.org", "100")
    long = {"workload": "echo", "input": {"text": "word" * 100, "items": 1300}}
    (coordinator,) = network.processes("archipelag_coordinator")
    with network.http(key) as http:
        slow = http.post("/jobs", json=long).json()["data"]["id"]
        with _trickle(network, key, slow):
            before = psutil.Process(coordinator.pid).memory_info().rss
            beside = [http.post("/jobs", json=long).json()["data"]["id"] for _ in range(3)]
            for job in beside:
                text = http.get(f"/jobs/{job}/stream").text
                assert '"done"' in text and text.count("word") == 1300 * 100
            assert wait_for(lambda: _ended(http, slow), "it ends unread")["status"] == "completed"
            grown = psutil.Process(coordinator.pid).memory_info().rss - before
    assert grown < 64 << 20


def _trickle(network: Network, key: str, job: str) -> socket.socket:
    """A reader that has taken a few bytes, and whose window is all but shut."""
    at = urlsplit(network.api_url)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect((at.hostname, at.port))
    reader.sendall(
        f"GET /api/v1/jobs/{job}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    )
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


# --- Secrets ---------------------------------------------------------------------------------------


@pytest.mark.real_model
def test_no_log_holds_a_prompt_an_answer_or_a_key(network: Network) -> None:
    canary = "CanaryZebraQuartz"
    key = network.user("canary@example.org", "10")
    with network.http(key) as http:
        secret, _ = new_key(http)
        ask = CHAT | {"messages": [{"role": "user", "content": canary}], "max_tokens": 4}
        assert http.post("/chat/completions", json=ask).status_code == 200
        echo = {"workload": "echo", "input": {"text": canary, "fail_at": 1, "items": 3}}
        job = http.post("/jobs", json=echo).json()["data"]["id"]
        http.post("/chat/completions", json=ask | {"temperature": canary})
        http.post("/chat/completions", content=b'{"' + canary.encode())
        wait_for(lambda: _ended(http, job), "it ends")
        code = http.post("/pairing-codes").json()["data"]["code"]

    logs = [*(network.home / "logs").glob("*"), network.home / "up.log"]
    assert len(logs) > 4
    jwt = json.loads((network.home / "island" / "identity.json").read_text())["broker_jwt"]
    password = urlsplit(network.database_url).password
    assert password
    for log in logs:
        held = log.read_text(errors="replace")
        for what in (canary, key, secret, code, jwt, password):
            assert what not in held, f"{what[:6]}… in {log.name}"
        if (
            log.name != "up.log"
        ):  # That one prints the administrator's key: it is how a person learns it.
            assert network.api_key not in held
