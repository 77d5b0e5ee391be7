"""Two Coordinators of the last release are replaced one after the other under load, and no reader sees an end."""

from __future__ import annotations

import asyncio
import json
import sys

import httpx
from archipelag import AsyncClient
from archipelag_embedded.process import Process, free_port

from tests.trouble.rig import said

from .last_release import Release
from .test_neighbours import MixedRig, mixed

READERS = 6
WORDS = 200
"""Five seconds of an answer: longer than a Coordinator that stops lets its streams go on."""


class Pair:
    """The rig's Coordinator and a second one beside it, each replaced where it stood."""

    def __init__(self, rig: MixedRig) -> None:
        self.rig = rig
        self.ports = (rig._port, free_port())
        self._grpc = (rig._grpc, free_port())
        self.running = [rig.coordinator]

    @property
    def addresses(self) -> str:
        return ",".join(f"http://127.0.0.1:{port}" for port in self.ports)

    async def start(self, number: int, python: str) -> None:
        env = self.rig.environment() | {
            "ARCHIPELAG_HTTP_PORT": str(self.ports[number]),
            "ARCHIPELAG_GRPC_PORT": str(self._grpc[number]),
        }
        program = [python, "-m", "archipelag_coordinator", "serve"]
        log = self.rig.home / f"coordinator-{number}.log"
        process = Process(f"Coordinator {number}", program, log=log, env=env)
        self.running[number : number + 1] = [process]
        if number == 0:
            self.rig.coordinator = process

        async def ready() -> bool:
            if not process.running:
                raise process.failed("ended")
            try:
                url = f"http://127.0.0.1:{self.ports[number]}/api/v1/ready"
                return (await self.rig.http.get(url)).status_code == 200
            except httpx.HTTPError:
                return False

        await self.rig.until(ready, f"Coordinator {number} is ready")

    async def replace(self, number: int, python: str) -> None:
        """As an operator does it: asked to stop, waited for, started anew."""
        old = self.running[number]
        old.ask_to_stop()
        await asyncio.to_thread(old.stop)
        await self.start(number, python)


async def read(pair: Pair, first: int, stop: asyncio.Event) -> list[tuple[str, str]]:
    """Asks again and again; (job, text) of each answer."""
    got = []
    addresses = pair.addresses.split(",")
    order = ",".join(addresses[first:] + addresses[:first])
    asked = [
        {"role": "system", "content": json.dumps({"delay_ms": 25})},
        {"role": "user", "content": said(WORDS)},
    ]
    async with AsyncClient(order, pair.rig.key, retries_max=10) as client:
        while not stop.is_set():
            stream = await client.chat_stream(messages=asked, model="slow-chat", max_tokens=WORDS)
            text = "".join([piece.text async for piece in stream])
            got.append((stream.job_id, text))
    return got


async def test_a_rolling_upgrade_drops_no_stream(release: Release) -> None:
    async with mixed(release.python, sys.executable) as rig:
        pair = Pair(rig)
        await pair.start(1, release.python)
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                readers = [group.create_task(read(pair, n % 2, stop)) for n in range(READERS)]
                await asyncio.sleep(2)
                for number in (0, 1):
                    await pair.replace(number, sys.executable)
                    await asyncio.sleep(3)
                stop.set()
            answers = [one for reader in readers for one in reader.result()]
            check = (await rig.http.get("/admin/ledger-check")).json()["data"]
        finally:
            for process in pair.running[1:]:
                await asyncio.to_thread(process.stop)

        assert len(answers) >= 2 * READERS
        for job, text in answers:
            assert text.split() == said(WORDS).split()
            assert rig.billed(job) == ("succeeded", WORDS, 1)
        assert check["balanced"]
