"""Lines that are cut at random byte places: every answer is the undisturbed one, and is made and paid once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from archipelag import AsyncClient, Client

from tests.trouble.rig import Rig

from .cutting_proxy import Cutter, proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROXY = Path(__file__).with_name("cutting_proxy.py")
WORDS = 40
AT_ONCE = 12
CUTS = {"async chat": 300, "chat": 300, "async job": 200, "job": 200}


def asked(seed: int) -> dict[str, Any]:
    """A chat of the echo engine: a function of the seed, with all that might break a frame in it."""
    system = {"seeded": True, "items": WORDS, "delay_ms": 1}
    messages = [{"role": "system", "content": json.dumps(system)}]
    messages.append({"role": "user", "content": "x"})
    return {"messages": messages, "seed": seed}


class Readers:
    """Each reads one answer through the proxy and gives its text, its job and how many tokens were told."""

    def __init__(self, rig: Rig, port: int) -> None:
        direct, cut = str(rig.http.base_url), f"http://127.0.0.1:{port}"
        self.direct = AsyncClient(direct, rig.key)
        # What waits before another try does so for a moment: it is the cuts that are tried here.
        self.cut = AsyncClient(cut, rig.key, retries_max=10, sleep=lambda s: asyncio.sleep(s / 50))
        self.waiting = Client(cut, rig.key, retries_max=10, sleep=lambda _: None)

    async def whole(self, seed: int) -> str:
        return (await self.direct.chat(model="slow-chat", **asked(seed))).text

    async def async_chat(self, seed: int) -> tuple[str, str, int]:
        stream = await self.cut.chat_stream(model="slow-chat", **asked(seed))
        texts = [piece.text async for piece in stream]
        assert stream.usage is not None and stream.finish_reason == "stop"
        return "".join(texts), stream.job_id, stream.usage.completion_tokens

    async def chat(self, seed: int) -> tuple[str, str, int]:
        def read() -> tuple[str, str, int]:
            stream = self.waiting.chat_stream(model="slow-chat", **asked(seed))
            texts = [piece.text for piece in stream]
            assert stream.usage is not None and stream.finish_reason == "stop"
            return "".join(texts), stream.job_id, stream.usage.completion_tokens

        return await asyncio.to_thread(read)

    async def async_job(self, seed: int) -> tuple[str, str, int]:
        job = await self.cut.create_job("slow-chat", asked(seed))
        told = [event async for event in self.cut.stream_job(job.id)]
        return _told(told, job.id)

    async def job(self, seed: int) -> tuple[str, str, int]:
        def read() -> tuple[str, str, int]:
            job = self.waiting.create_job("slow-chat", asked(seed))
            return _told(list(self.waiting.stream_job(job.id)), job.id)

        return await asyncio.to_thread(read)

    async def close(self) -> None:
        await self.direct.close()
        await self.cut.close()
        self.waiting.close()


def made(rig: Rig) -> int:
    """Jobs that did not fail."""
    return int(rig.rows("SELECT count(*) FROM jobs WHERE status <> 'failed'")[0][0])


def _told(events: list[Any], job_id: str) -> tuple[str, str, int]:
    """Each place comes once and in order, and the end is the last."""
    places = [int(event.id) for event in events if event.type == "token"]
    assert places == sorted(set(places)) and [e.type for e in events].count("done") == 1
    assert events[-1].type == "done" and events[-1].usage is not None
    text = "".join(event.text for event in events if event.type == "token")
    return text, job_id, events[-1].usage.completion_tokens


@pytest.mark.parametrize("kind", CUTS)
async def test_every_answer_is_the_undisturbed_one(rig: Rig, kind: str) -> None:
    cutter = Cutter(seed=len(kind))
    before = made(rig)
    answers: dict[int, tuple[str, str, int]] = {}
    seeds = iter(range(10_000))
    async with proxy(str(rig.http.base_url), cutter) as port:
        readers = Readers(rig, port)
        read: Callable[[int], Coroutine[Any, Any, tuple[str, str, int]]]
        read = getattr(readers, kind.replace(" ", "_"))

        async def keep_reading() -> None:
            while cutter.cuts < CUTS[kind]:
                seed = next(seeds)
                answers[seed] = await read(seed)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(keep_reading())
        texts = await asyncio.gather(*map(readers.whole, answers))
        await readers.close()

    assert cutter.cuts >= CUTS[kind]
    assert [text for text, _, _ in answers.values()] == texts
    assert {count for _, _, count in answers.values()} == {WORDS}
    jobs = {job for _, job, _ in answers.values()}
    # Each answer and its undisturbed twin is a job, and nothing else was made, but for jobs that failed in between:
    # those cost nothing, and the same key asked anew.
    assert made(rig) - before == 2 * len(answers) == 2 * len(jobs)
    failed = "SELECT DISTINCT charged, idempotency_key FROM jobs WHERE status = 'failed'"
    assert rig.rows(failed) in ([], [(0, None)])
    assert {rig.billed(job) for job in jobs} == {("succeeded", WORDS, 1)}


async def test_the_proxy_by_itself_tells_its_port_and_ends_with_its_input(rig: Rig) -> None:
    upstream = str(rig.http.base_url).removesuffix("/api/v1/")
    program = [sys.executable, str(PROXY), "--upstream", upstream, "--seed", "1", "--cuts", "3"]

    def run() -> tuple[str, str]:
        with subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            address = f"http://127.0.0.1:{int(process.stdout.readline())}"
            with Client(address, rig.key, retries_max=10, sleep=lambda _: None) as client:
                text = client.chat(model="slow-chat", **asked(1)).text
            said, _ = process.communicate(timeout=30)
            assert process.returncode == 0
            return text, said

    text, said = await asyncio.to_thread(run)

    body = asked(1) | {"model": "slow-chat"}
    whole = (await rig.http.post("/chat/completions", json=body)).json()
    assert text == whole["choices"][0]["message"]["content"]
    assert said.startswith("cuts ")
