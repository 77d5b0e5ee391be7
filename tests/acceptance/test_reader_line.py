"""The reader's own line may break, and so may the Coordinator at its end; the answer goes on exactly where it was."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
import pytest
from archipelag import AsyncClient

from .conftest import CHAT_MODEL, Network, second_coordinator, wait_for
from .raw_island import until

ASK = {
    "model": CHAT_MODEL,
    "messages": [{"role": "user", "content": "Write a long story about a lighthouse keeper."}],
    "max_tokens": 120,
    "temperature": 0.8,
    "stream": True,
    "stream_options": {"include_usage": True},
}
STREAMS = 4


@dataclass
class Receipt:
    """What one reader got, over all its connections."""

    ask: dict[str, Any]
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    last: int = 0
    text: str = ""
    done: bool = False
    connections: int = 0
    job: str = ""

    async def read(self, http: httpx.AsyncClient, until: int | None = None) -> None:
        """Once, from where it was; `until`: hangs up after this position."""
        headers = {"Idempotency-Key": self.key}
        if self.connections:
            headers["Last-Event-ID"] = str(self.last)
        self.connections += 1
        path = "/chat/completions"
        async with http.stream("POST", path, json=self.ask, headers=headers, timeout=60) as answer:
            assert answer.status_code == 200, await answer.aread()
            self.job = answer.headers["x-archipelag-job"]
            async for line in answer.aiter_lines():
                self._take(line)
                if self.done or (until is not None and self.last >= until):
                    return

    def _take(self, line: str) -> None:
        if line == "data: [DONE]":
            self.done = True
        elif line.startswith("id: "):
            self._coming = int(line[4:])
        elif line.startswith("data: "):
            choices = json.loads(line[6:]).get("choices") or []
            content = choices[0]["delta"].get("content") if choices else None
            if content:
                assert self._coming > self.last, "a position came twice"
                self.text, self.last = self.text + content, self._coming


async def _whole(http: httpx.AsyncClient, ask: dict[str, Any]) -> tuple[str, int]:
    """Text and tokens of the undisturbed answer."""
    quiet = {k: v for k, v in ask.items() if not k.startswith("stream")}
    answer = (await http.post("/chat/completions", json=quiet, timeout=120)).json()
    return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]


def _client(base: str, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=f"{base.removesuffix('/api/v1')}/api/v1", headers=headers)


@pytest.mark.real_model
async def test_a_killed_coordinator_is_survived_by_its_streams(network: Network) -> None:
    key = network.user("survivor@example.org", "100")
    async with _client(network.api_url, key) as here:
        receipts = [Receipt(ASK | {"seed": seed}) for seed in range(STREAMS)]
        whole = [await _whole(here, one.ask) for one in receipts]
        before = Decimal(str((await here.get("/account")).json()["data"]["credits"]))
        with second_coordinator(network) as doomed:
            wait_for(lambda: _knows_the_model(network, doomed.base), "it has heard of the Island")
            async with _client(doomed.base, key) as there:
                reading = [asyncio.create_task(_until_cut(one, there)) for one in receipts]
                await until(lambda: min(one.last for one in receipts) >= 15, "all have begun")
                doomed.process.kill()
                await asyncio.gather(*reading)
        cut = [one.last for one in receipts]

        await asyncio.gather(*(one.read(here) for one in receipts))

        jobs = [(await here.get(f"/jobs/{one.job}")).json()["data"] for one in receipts]
        after = Decimal(str((await here.get("/account")).json()["data"]["credits"]))
    assert max(cut) < 120, "it was killed in the middle"
    assert [one.text for one in receipts] == [text for text, _ in whole]
    assert all(one.done and one.connections == 2 for one in receipts)
    assert [job["usage"]["completion_tokens"] for job in jobs] == [count for _, count in whole]
    assert [len(_tries(job)) for job in jobs] == [1] * STREAMS, "nothing was run again"
    spent = sum(Decimal(str(job["usage"]["credits_used"])) for job in jobs)
    assert before - after == spent


def _tries(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Attempts that an Island took: who has no slot at that moment says no, and that is all."""
    return [one for one in job["attempts"] if one["status"] != "refused"]


async def _until_cut(receipt: Receipt, http: httpx.AsyncClient) -> None:
    try:
        await receipt.read(http)
    except httpx.HTTPError:
        return
    raise AssertionError("the stream ended before its Coordinator was killed")


def _knows_the_model(network: Network, base: str) -> bool:
    headers = {"Authorization": f"Bearer {network.api_key}"}
    hosts = httpx.get(f"{base}/api/v1/hosts", headers=headers).json()["data"]
    return any(
        offer["slug"] == "llm-chat" and offer["state"] == "warm"
        for host in hosts
        for offer in host["cargos"]
    )


@pytest.mark.real_model
async def test_a_reader_who_hangs_up_goes_on_at_any_coordinator(network: Network) -> None:
    key = network.user("wanderer@example.org", "100")
    receipt = Receipt(ASK | {"seed": 7})
    async with _client(network.api_url, key) as here:
        text, count = await _whole(here, receipt.ask)
        with second_coordinator(network) as other:
            async with _client(other.base, key) as there:
                for n, http in enumerate([here, there, here, there]):
                    await receipt.read(http, until=20 * (n + 1))
                await receipt.read(there)
        late = Receipt(receipt.ask, key=receipt.key, last=count - 10, connections=1)
        await late.read(here)

        job = (await here.get(f"/jobs/{receipt.job}")).json()["data"]

    assert receipt.done and receipt.text == text
    assert late.job == receipt.job and text.endswith(late.text) and late.last == count
    assert (job["status"], len(_tries(job))) == ("completed", 1)


@pytest.mark.real_model
async def test_the_client_of_ours_does_not_notice_a_killed_coordinator(network: Network) -> None:
    key = network.user("unaware@example.org", "100")
    ask = {"max_tokens": 100, "temperature": 0.8, "seed": 5}
    question = "Write a long story about a lighthouse keeper."
    with second_coordinator(network) as doomed:
        wait_for(lambda: _knows_the_model(network, doomed.base), "it has heard of the Island")
        addresses = f"{doomed.base},{network.api_url}"
        async with AsyncClient(addresses, key) as client:
            whole = await client.chat(question, CHAT_MODEL, **ask)
            stream = await client.chat_stream(question, CHAT_MODEL, **ask)
            texts: list[str] = []
            async for piece in stream:
                texts.append(piece.text)
                if len(texts) == 20:
                    doomed.process.kill()

    assert "".join(texts) == whole.text
    assert stream.usage is not None and whole.usage is not None
    assert stream.usage.completion_tokens == whole.usage.completion_tokens


async def test_a_job_that_shall_go_on_unread_is_finished_for_whoever_comes(
    network: Network,
) -> None:
    key = network.user("absent@example.org", "100")
    receipt = Receipt(ASK | {"seed": 3, "max_tokens": 40})
    headers = {"X-Archipelag-On-Disconnect": "continue", "Authorization": f"Bearer {key}"}
    base = network.api_url.removesuffix("/api/v1") + "/api/v1"
    async with httpx.AsyncClient(base_url=base, headers=headers) as http:
        await receipt.read(http, until=3)

        def ended() -> dict[str, Any] | None:
            found = httpx.get(f"{base}/jobs/{receipt.job}", headers=headers).json()["data"]
            return found if found["completed_at"] else None

        job = await asyncio.to_thread(wait_for, ended, "it ran to its end", 60)
        await receipt.read(http)

    assert job["status"] == "completed"
    assert receipt.text == job["output"]
