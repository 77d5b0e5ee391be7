"""Two workers behind one port: one that is killed, a key that is revoked at one of them, and the end of both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import psutil
import pytest
import pytest_asyncio
from archipelag_embedded.fixtures import PATIENCE_S
from archipelag_embedded.process import free_port

from .rig import Rig, opened, said

pytestmark = pytest.mark.asyncio(loop_scope="session")
STREAMS = 12


@dataclass
class Duo:
    """A network whose Coordinator is two workers."""

    rig: Rig
    first_port: int

    def workers(self) -> list[psutil.Process]:
        found = {}
        for one in psutil.Process(self.rig.coordinator.pid).children():
            with contextlib.suppress(psutil.Error):  # It may have ended just now.
                found[one.cmdline()[-1]] = one
        return [found[number] for number in sorted(found)]

    def base(self, number: int) -> str:
        """Where this worker answers by itself."""
        return f"http://127.0.0.1:{self.first_port + number - 1}/api/v1"

    async def ready(self, number: int) -> bool:
        async with httpx.AsyncClient() as http:
            try:
                return (await http.get(f"{self.base(number)}/ready")).status_code == 200
            except httpx.HTTPError:
                return False

    async def all_ready(self) -> bool:
        return len(self.workers()) == 2 and all([await self.ready(one) for one in (1, 2)])


@dataclass
class Reader:
    """Reads one answer on a connection of its own and comes back after each break."""

    base: str
    key: str
    job: str = ""
    position: int = 0
    text: str = ""
    breaks: int = 0
    errors: list[str] = field(default_factory=list)

    async def read(self, words: int, delay_ms: int) -> None:
        body = {
            "model": "slow-chat",
            "messages": [
                {"role": "system", "content": json.dumps({"delay_ms": delay_ms})},
                {"role": "user", "content": said(words)},
            ],
            "max_tokens": words,
            "stream": True,
        }
        if await self._follow("POST", "/chat/completions", json=body):
            return
        for _ in range(100):
            self.breaks += 1
            if await self._follow("GET", f"/jobs/{self.job}/stream"):
                return
            await asyncio.sleep(0.1)

    async def _follow(self, method: str, path: str, **given: object) -> bool:
        """Whether the end came."""
        headers = {"Authorization": f"Bearer {self.key}", "Last-Event-ID": str(self.position)}
        try:
            async with (
                httpx.AsyncClient(timeout=PATIENCE_S, headers=headers) as http,
                http.stream(method, f"{self.base}{path}", **given) as answer,  # type: ignore[arg-type]
            ):
                if answer.status_code != 200:
                    self.errors.append((await answer.aread()).decode())
                    return False
                self.job = answer.headers["x-archipelag-job"]
                async for line in answer.aiter_lines():
                    if line.startswith("id: "):
                        self.position = int(line[4:])
                    elif line.startswith("data: ") and self._take(line[6:]):
                        return True
        except httpx.HTTPError:
            pass
        return False

    def _take(self, data: str) -> bool:
        if data == "[DONE]":
            return True
        event = json.loads(data)
        if event.get("type") == "token":
            self.text += event["content"]
        for choice in event.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
        if "error" in event:
            self.errors.append(data)
        return event.get("type") in ("done", "error")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def duo() -> AsyncIterator[Duo]:
    ports = [free_port()]
    while ports[-1] != ports[0] + 1:
        ports = [ports[-1], free_port()]
    first = ports[0]
    two = {"ARCHIPELAG_WORKERS": "2", "ARCHIPELAG_WORKER_PORT": str(first)}
    async with opened("workers", lambda home: Rig(home, **two), islands=1) as rig:
        made = Duo(rig, first)
        await rig.until(made.all_ready, "both workers are ready")
        yield made


async def begun(
    duo: Duo, words: int, delay_ms: int
) -> tuple[list[Reader], list[asyncio.Task[None]]]:
    base = str(duo.rig.http.base_url).rstrip("/")
    readers = [Reader(base, duo.rig.key) for _ in range(STREAMS)]
    tasks = [asyncio.create_task(one.read(words, delay_ms)) for one in readers]

    async def on_their_way() -> bool:
        assert not any(one.errors for one in readers), readers
        return all(one.position >= 3 for one in readers)

    await duo.rig.until(on_their_way, "every stream has begun")
    return readers, tasks


async def test_a_worker_that_is_killed_costs_its_readers_one_reconnect(duo: Duo) -> None:
    readers, tasks = await begun(duo, words=100, delay_ms=40)
    killed, other = duo.workers()

    killed.send_signal(signal.SIGKILL)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)

    assert [one.errors for one in readers] == [[]] * STREAMS
    assert [one.text.split() for one in readers] == [said(100).split()] * STREAMS
    assert any(one.breaks for one in readers), "none was on the worker that was killed"
    assert not all(one.breaks for one in readers), "the other worker's streams went on"
    for one in readers:
        assert duo.rig.billed(one.job) == ("succeeded", 100, 1)
    await duo.rig.until(duo.all_ready, "the worker is back")
    assert other.pid in [one.pid for one in duo.workers()]
    assert killed.pid not in [one.pid for one in duo.workers()]


async def test_a_key_that_is_revoked_at_one_worker_is_refused_by_the_other(duo: Duo) -> None:
    made = await duo.rig.http.post("/api-keys", json={"name": "short-lived", "scopes": ["read"]})
    secret, key_id = made.json()["key"], made.json()["data"]["id"]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {secret}"}) as http:

        async def refused(number: int) -> bool:
            return (await http.get(f"{duo.base(number)}/account")).status_code == 401

        before = [await refused(number) for number in (1, 2, 1, 2)]
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {duo.rig.key}"}) as owner:
            told = await owner.delete(f"{duo.base(1)}/api-keys/{key_id}")
        assert told.is_success
        at_once = await refused(1)
        await duo.rig.until(lambda: refused(2), "the other worker refuses it, too", within_s=2)

    assert before == [False] * 4
    assert at_once


async def test_sigterm_lets_short_streams_end_and_leaves_nobody_behind(duo: Duo) -> None:
    readers, tasks = await begun(duo, words=40, delay_ms=30)
    workers = duo.workers()

    duo.rig.coordinator.signal(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
    ended = await asyncio.to_thread(duo.rig.coordinator.wait, 30)

    await duo.rig.start_coordinator()
    await duo.rig.until(duo.all_ready, "both workers are ready")
    assert ended
    assert [one.breaks for one in readers] == [0] * STREAMS
    assert [one.text.split() for one in readers] == [said(40).split()] * STREAMS
    assert not any(one.is_running() for one in workers)
